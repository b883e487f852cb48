//! How does a plain loop run on the widest vectors of the machine?

use pulp::Simd;

/// A block worth handing to another thread, in values.
pub(super) const BLOCK: usize = 1 << 13;

/// 1.5 · 2^23: adding it leaves the nearest whole number, which then stands in the lowest bits.
pub(super) const ROUND: f32 = 12_582_912.0;

/// Declares functions that are compiled once for each instruction set, the machine's best one being
/// chosen when they are called. Plain loops in them become vector code.
///
/// The body goes into a method that is always inlined into the dispatched function. Closures and ordinary
/// functions would not do: the compiler may leave them outside, compiled for the plainest machine, with
/// a call of `fmaf` for each value. `|simd|` before the body names the instruction set.
macro_rules! vectorised {
    ($($(#[$doc:meta])* $vis:vis fn $name:ident<$life:lifetime>(
        $($arg:ident: $type:ty),* $(,)?
    ) -> $output:ty $(|$simd:ident|)? $body:block)+) => {$(
        $(#[$doc])*
        $vis fn $name<$life>($($arg: $type),*) -> $output {
            struct Loop<$life> {
                $($arg: $type,)*
                life: std::marker::PhantomData<&$life ()>,
            }
            impl<$life> pulp::WithSimd for Loop<$life> {
                type Output = $output;
                #[inline(always)]
                fn with_simd<S: pulp::Simd>(self, _simd: S) -> $output {
                    $(let $simd = _simd;)?
                    let Self { $($arg,)* life: _ } = self;
                    $body
                }
            }
            crate::kernels::cpu::dispatch(Loop { $($arg,)* life: std::marker::PhantomData })
        }
    )+};
}

pub(super) use vectorised;

/// `exp(x)` to about one unit in the last place, written so that loops over it vectorise.
///
/// Cody-Waite reduction and a polynomial of degree 6, as in Cephes' `expf`.
#[inline(always)]
#[allow(clippy::excessive_precision)]
pub(super) fn exp(x: f32) -> f32 {
    let x = if x > -87.3 { x } else { -87.3 };
    let x = if x < 88.3 { x } else { 88.3 };
    let rounded = x.mul_add(std::f32::consts::LOG2_E, ROUND);
    let n = rounded - ROUND;
    let r = n.mul_add(-0.693_359_375, x);
    let r = n.mul_add(2.121_944_4e-4, r);
    let p = 1.987_569_15e-4_f32;
    let p = p.mul_add(r, 1.398_199_95e-3);
    let p = p.mul_add(r, 8.333_451_9e-3);
    let p = p.mul_add(r, 4.166_579_6e-2);
    let p = p.mul_add(r, 1.666_666_55e-1);
    let p = p.mul_add(r, 5.000_000_1e-1);
    let y = (r * r).mul_add(p, r + 1.0);
    y * f32::from_bits(rounded.to_bits().wrapping_sub(ROUND.to_bits() - 127) << 23)
}

/// All lanes as one, by halves: shorter than one after another.
#[inline(always)]
pub(super) fn folded<T: Copy, const N: usize>(mut lanes: [T; N], join: impl Fn(T, T) -> T) -> T {
    fold(&mut lanes, join)
}

#[inline(always)]
fn fold<T: Copy>(lanes: &mut [T], join: impl Fn(T, T) -> T) -> T {
    let mut half = lanes.len() / 2;
    while half > 0 {
        for j in 0..half {
            lanes[j] = join(lanes[j], lanes[j + half]);
        }
        half /= 2;
    }
    lanes[0]
}

/// Lanes that a slice is gone through in: the same order on every machine.
const LANES: usize = 32;

/// Goes through slices of the same length: joins their values to those of their lanes, then these by halves. Their vectors are
/// named, for the compiler would leave so many lanes to themselves. What is left is too short for all lanes.
#[inline(always)]
fn reduce<S: Simd, const N: usize>(
    values: [&[f32]; N],
    start: S::f32s,
    take_in: impl Fn(S::f32s, [S::f32s; N]) -> S::f32s,
    (join, join_values): (impl Fn(S::f32s, S::f32s) -> S::f32s, impl Fn(f32, f32) -> f32),
) -> (f32, [&[f32]; N]) {
    let mut vectors = [start; LANES];
    let n = values[0].len() / LANES;
    for i in 0..n {
        let parts = values.map(|values| S::as_simd_f32s(&values[i * LANES..][..LANES]).0);
        for j in 0..LANES / S::F32_LANES {
            vectors[j] = take_in(vectors[j], parts.map(|part| part[j]));
        }
    }
    let mut lanes = [0.0; LANES];
    S::as_mut_simd_f32s(&mut lanes).0[0] = fold(&mut vectors[..LANES / S::F32_LANES], join);
    (fold(&mut lanes[..S::F32_LANES], join_values), values.map(|values| &values[n * LANES..]))
}

/// Sum of a slice.
#[inline(always)]
pub(super) fn sum_of<S: Simd>(simd: S, values: &[f32]) -> f32 {
    let add = |a, b| simd.add_f32s(a, b);
    let take_in = |sum, [v]: [S::f32s; 1]| add(sum, v);
    let (sum, [rest]) = reduce::<S, 1>([values], simd.splat_f32s(0.0), take_in, (add, |a, b| a + b));
    sum + rest.iter().sum::<f32>()
}

/// Inner product of two slices of the same length.
#[inline(always)]
pub(super) fn dot<S: Simd>(simd: S, a: &[f32], b: &[f32]) -> f32 {
    let add = |a, b| simd.add_f32s(a, b);
    let take_in = |sum, [a, b]: [S::f32s; 2]| simd.mul_add_f32s(a, b, sum);
    let (sum, [a, b]) = reduce::<S, 2>([a, b], simd.splat_f32s(0.0), take_in, (add, |a, b| a + b));
    sum + a.iter().zip(b).map(|(&a, &b)| a * b).sum::<f32>()
}

/// Largest value of a slice.
#[inline(always)]
pub(super) fn max_of<S: Simd>(simd: S, values: &[f32]) -> f32 {
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    let join = |a, b| simd.max_f32s(b, a);
    let take_in = |largest, [v]: [S::f32s; 1]| join(largest, v);
    let (largest, [rest]) =
        reduce::<S, 1>([values], simd.splat_f32s(f32::NEG_INFINITY), take_in, (join, larger));
    rest.iter().fold(largest, |a, &b| larger(a, b))
}

/// Inner product in 8 lanes, for a few values.
#[inline(always)]
pub(super) fn short_dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0_f32; 8];
    let ((chunks_a, rest_a), (chunks_b, rest_b)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    for (a, b) in chunks_a.iter().zip(chunks_b) {
        for j in 0..8 {
            lanes[j] = a[j].mul_add(b[j], lanes[j]);
        }
    }
    let rest: f32 = rest_a.iter().zip(rest_b).map(|(&a, &b)| a * b).sum();
    folded(lanes, |a, b| a + b) + rest
}

vectorised! {
    fn largest<'a>(values: &'a [f32]) -> f32 |simd| {
        max_of(simd, values)
    }
}

/// Where the largest value stands, the first of equal ones.
pub fn first_of_largest(values: &[f32]) -> usize {
    let largest = largest(values);
    values.iter().position(|&v| v >= largest).unwrap_or(0)
}

/// Replaces each value of a row by `exp(value - shift)` and returns their sum.
#[inline(always)]
pub(super) fn exp_and_sum<S: Simd>(simd: S, row: &mut [f32], shift: f32) -> f32 {
    for v in row.iter_mut() {
        *v = exp(*v - shift);
    }
    sum_of(simd, row)
}

#[cfg(test)]
mod tests {
    use super::*;

    vectorised! {
        fn vector_exp<'a>(values: &'a mut [f32]) -> () {
            for v in values.iter_mut() {
                *v = exp(*v);
            }
        }
    }

    vectorised! {
        /// Sum, sum of squares and largest.
        fn reductions<'a>(values: &'a [f32]) -> [f32; 3] |simd| {
            [sum_of(simd, values), dot(simd, values, values), max_of(simd, values)]
        }
    }

    #[test]
    fn exp_is_exact_to_float_precision() {
        for i in -8700..8800 {
            let x = i as f32 * 0.01;
            let mut ours = [x];
            vector_exp(&mut ours);
            let (ours, exact) = (ours[0], f64::from(x).exp());
            let error = (f64::from(ours) - exact).abs() / exact;
            assert!(error < 2.5e-7, "exp({x}) is off by {error}");
        }
    }

    #[test]
    fn reductions_take_every_value() {
        let values: Vec<f32> = (0..100).map(|i| i as f32).collect();
        let [sum, squares, largest] = reductions(&values);
        assert!((sum - 4950.0).abs() < f32::EPSILON);
        assert!((squares - 328_350.0).abs() < f32::EPSILON);
        assert!((largest - 99.0).abs() < f32::EPSILON);
        assert!((short_dot(&values, &values) - 328_350.0).abs() < f32::EPSILON);
    }
}
