//! How does a plain loop run on the widest vectors of the machine?

/// A block worth handing to another thread, in values.
pub(super) const BLOCK: usize = 1 << 13;

/// 1.5 · 2^23: adding it leaves the nearest whole number, which then stands in the lowest bits.
pub(super) const ROUND: f32 = 12_582_912.0;

/// Declares functions that are compiled once for each instruction set, the machine's best one being
/// chosen when they are called. Plain loops in them become vector code.
///
/// The body goes into a method that is always inlined into the dispatched function. Closures and ordinary
/// functions would not do: the compiler may leave them outside, compiled for the plainest machine, with
/// a call of `fmaf` for each value.
macro_rules! vectorised {
    ($($(#[$doc:meta])* $vis:vis fn $name:ident<$life:lifetime>(
        $($arg:ident: $type:ty),* $(,)?
    ) -> $output:ty $body:block)+) => {$(
        $(#[$doc])*
        $vis fn $name<$life>($($arg: $type),*) -> $output {
            struct Loop<$life> {
                $($arg: $type,)*
                life: std::marker::PhantomData<&$life ()>,
            }
            impl<$life> pulp::WithSimd for Loop<$life> {
                type Output = $output;
                #[inline(always)]
                fn with_simd<S: pulp::Simd>(self, _: S) -> $output {
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
    let mut half = N / 2;
    while half > 0 {
        for j in 0..half {
            lanes[j] = join(lanes[j], lanes[j + half]);
        }
        half /= 2;
    }
    lanes[0]
}

/// Sum of `f` over a slice, in 16 lanes: the same order on every machine.
#[inline(always)]
pub(super) fn sum_of(values: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0.0_f32; 16];
    let (chunks, rest) = values.as_chunks::<16>();
    for chunk in chunks {
        for j in 0..16 {
            lanes[j] += f(chunk[j]);
        }
    }
    for (lane, &v) in lanes.iter_mut().zip(rest) {
        *lane += f(v);
    }
    folded(lanes, |a, b| a + b)
}

/// Inner product of two slices, in 32 lanes: the same order on every machine.
#[inline(always)]
pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    dot_in::<32>(a, b)
}

/// The same in 8 lanes, for a few values.
#[inline(always)]
pub(super) fn short_dot(a: &[f32], b: &[f32]) -> f32 {
    dot_in::<8>(a, b)
}

#[inline(always)]
fn dot_in<const N: usize>(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0_f32; N];
    let ((chunks_a, rest_a), (chunks_b, rest_b)) = (a.as_chunks::<N>(), b.as_chunks::<N>());
    for (a, b) in chunks_a.iter().zip(chunks_b) {
        for j in 0..N {
            lanes[j] = a[j].mul_add(b[j], lanes[j]);
        }
    }
    for ((lane, &a), &b) in lanes.iter_mut().zip(rest_a).zip(rest_b) {
        *lane = a.mul_add(b, *lane);
    }
    folded(lanes, |a, b| a + b)
}

/// Largest value of a slice.
#[inline(always)]
pub(super) fn max_of(values: &[f32]) -> f32 {
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    let mut lanes = [f32::NEG_INFINITY; 32];
    let (chunks, rest) = values.as_chunks::<32>();
    for chunk in chunks {
        for i in 0..32 {
            lanes[i] = larger(lanes[i], chunk[i]);
        }
    }
    rest.iter().chain(&lanes).fold(f32::NEG_INFINITY, |a, &b| larger(a, b))
}

vectorised! {
    fn largest<'a>(values: &'a [f32]) -> f32 {
        max_of(values)
    }
}

/// Where the largest value stands, the first of equal ones.
pub fn first_of_largest(values: &[f32]) -> usize {
    let largest = largest(values);
    values.iter().position(|&v| v >= largest).unwrap_or(0)
}

/// Replaces each value of a row by `exp(value - shift)` and returns their sum.
#[inline(always)]
pub(super) fn exp_and_sum(row: &mut [f32], shift: f32) -> f32 {
    for v in row.iter_mut() {
        *v = exp(*v - shift);
    }
    sum_of(row, |v| v)
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
        assert!((sum_of(&values, |v| v) - 4950.0).abs() < f32::EPSILON);
        assert!((max_of(&values) - 99.0).abs() < f32::EPSILON);
        assert!((dot(&values, &values) - 328_350.0).abs() < f32::EPSILON);
    }
}
