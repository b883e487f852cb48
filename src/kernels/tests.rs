//! Do the laws of the operators hold? Each equals its portable twin, forward and backward, and its gradient equals
//! a numeric one.

mod layers;

use std::ops::Range;
use std::sync::Arc;

use candle_core::{Device, Result, Tensor, Var};

use super::attention::{Attended, attend_cached, attention_portable};
use super::layer::{answer_layer_portable, decoder_layers_portable};
use super::loss::cross_entropy_portable;
use super::mlp::{swiglu, swiglu_portable};
use super::norm::rms_norm_portable;
use super::*;

/// How far a result may be off where products are formed of rounded values, as a share of the largest value.
fn rounding() -> f32 {
    match level() {
        // Values are off by 0.004 (root mean square), one in some thousand by 0.02.
        Level::Bf16 | Level::Amx => 0.03,
        Level::Avx2 | Level::Vnni => 0.002,
        _ => 0.0,
    }
}

/// Values in -1..1 that look random and never change.
pub(super) fn noise(shape: (usize, usize), seed: u32) -> Tensor {
    choose_float32();
    let value = |i: usize| {
        let x = (i as u32).wrapping_add(seed.wrapping_mul(7919)).wrapping_mul(2_654_435_761);
        f64::from(x ^ (x >> 15)) / f64::from(u32::MAX) * 2.0 - 1.0
    };
    let values: Vec<f32> = (0..shape.0 * shape.1).map(|i| value(i) as f32).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

type Op<'a> = &'a dyn Fn(&[&Tensor]) -> Result<Tensor>;

/// A scalar that weighs every output value differently.
fn scalar(y: &Tensor) -> Tensor {
    let y = y.flatten_all().unwrap();
    let weights = noise((1, y.elem_count()), 99).flatten_all().unwrap();
    (y * weights).unwrap().sum_all().unwrap()
}

fn gradients(op: Op, inputs: &[Tensor]) -> (Vec<f32>, Vec<Vec<f32>>) {
    let vars: Vec<Var> = inputs.iter().map(|t| Var::from_tensor(t).unwrap()).collect();
    let y = op(&vars.iter().map(Var::as_tensor).collect::<Vec<_>>()).unwrap();
    let grads = scalar(&y).backward().unwrap();
    let flat = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    (flat(&y), vars.iter().map(|v| flat(grads.get(v).expect("every input gets a gradient"))).collect())
}

fn assert_close(what: &str, a: &[f32], b: &[f32], tolerance: f32) {
    assert_eq!(a.len(), b.len(), "{what}");
    let tolerance = tolerance.max(rounding());
    let scale = b.iter().fold(1e-3_f32, |m, v| m.max(v.abs()));
    for (i, (x, y)) in a.iter().zip(b).enumerate() {
        assert!((x - y).abs() <= tolerance * scale, "{what}[{i}]: {x} and {y} (scale {scale})");
    }
}

fn check(name: &str, fast: Op, portable: Op, inputs: &[Tensor]) {
    let (y, grads) = gradients(fast, inputs);
    let (y_portable, grads_portable) = gradients(portable, inputs);
    assert_close(&format!("{name} forward"), &y, &y_portable, 2e-5);
    for (i, (a, b)) in grads.iter().zip(&grads_portable).enumerate() {
        assert_close(&format!("{name} gradient {i}"), a, b, 5e-5);
    }
    // Rounding would drown the differences that the numeric gradient is made of.
    for (i, input) in inputs.iter().enumerate().filter(|_| !level().rounds()) {
        check_numerically(name, fast, inputs, (i, &grads[i], input.elem_count()));
    }
}

/// Central differences at a handful of places.
fn check_numerically(name: &str, op: Op, inputs: &[Tensor], (i, grad, count): (usize, &[f32], usize)) {
    const H: f64 = 1e-2;
    let size = grad.iter().fold(1e-3_f64, |m, &v| m.max(f64::from(v).abs()));
    for at in (0..count).step_by(count / 7 + 1) {
        let moved = |by: f64| {
            let mut inputs = inputs.to_vec();
            let mut values = inputs[i].flatten_all().unwrap().to_vec1::<f32>().unwrap();
            values[at] += by as f32;
            inputs[i] = Tensor::from_vec(values, inputs[i].shape(), &Device::Cpu).unwrap();
            let y = op(&inputs.iter().collect::<Vec<_>>()).unwrap();
            let y = y.to_dtype(candle_core::DType::F64).unwrap().flatten_all().unwrap();
            let w = noise((1, y.elem_count()), 99).to_dtype(candle_core::DType::F64).unwrap();
            (y * w.flatten_all().unwrap()).unwrap().sum_all().unwrap().to_scalar::<f64>().unwrap()
        };
        let numeric = (moved(H) - moved(-H)) / (2.0 * H);
        let automatic = f64::from(grad[at]);
        assert!(
            (numeric - automatic).abs() < 1e-2 * size,
            "{name}: gradient {i}[{at}] is {automatic}, numerically {numeric}"
        );
    }
}

#[test]
fn rms_norm_keeps_the_laws() {
    let weight = noise((1, 72), 5).flatten_all().unwrap();
    let norm = RmsNorm::new(&weight, 1e-5).unwrap();
    let inputs = [noise((9, 72), 1)];
    check("rms_norm", &|t| rms_norm(t[0], &norm), &|t| rms_norm_portable(t[0], &weight, 1e-5), &inputs);
}

#[test]
fn swiglu_keeps_the_laws() {
    let inputs = [(noise((7, 50), 1) * 4.0).unwrap(), noise((7, 50), 2)];
    let (fast, portable) =
        (|t: &[&Tensor]| swiglu(&Tensor::cat(t, 1)?), |t: &[&Tensor]| swiglu_portable(&Tensor::cat(t, 1)?));
    check("swiglu", &fast, &portable, &inputs);
}

#[test]
fn frozen_linear_keeps_the_laws() {
    let base = FrozenLinear::new(&noise((40, 24), 3)).unwrap();
    for n in [1, 4, 33, 145] {
        let portable = |t: &[&Tensor]| t[0].matmul(&base.weight()?.t()?);
        check("frozen", &|t| base.forward(t[0]), &portable, &[noise((n, 24), 1)]);
    }
}

#[test]
fn a_frozen_weight_gets_no_gradient() {
    let weight = Var::from_tensor(&noise((8, 8), 3)).unwrap();
    let base = FrozenLinear::new(weight.as_tensor()).unwrap();
    let x = Var::from_tensor(&noise((5, 8), 1)).unwrap();
    let grads = base.forward(x.as_tensor()).unwrap().sum_all().unwrap().backward().unwrap();
    assert!(grads.get(&weight).is_none());
    assert!(grads.get(&x).is_some());
}

fn shape(lengths: &[usize]) -> Arc<AttentionShape> {
    sharing(0, lengths)
}

fn sharing(n_shared: usize, lengths: &[usize]) -> Arc<AttentionShape> {
    let rope = Arc::new(RopeTable::new(&[1.0, 0.3, 0.05, 0.01], 256));
    let (n_heads, n_kv_heads, head_dim, lengths) = (6, 2, 8, lengths.to_vec());
    Arc::new(AttentionShape { n_heads, n_kv_heads, head_dim, rope, n_shared, lengths })
}

/// Attention on all threads.
fn attention(qkv: &Tensor, shape: &AttentionShape) -> Vec<Vec<f32>> {
    let width = shape.n_heads * shape.head_dim;
    let mut out = vec![0.0; qkv.dim(0).unwrap() * width];
    let qkv = qkv.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    Attended::of(&qkv, shape).rows(shape, 0..out.len() / width, &mut out);
    out.chunks(width).map(<[f32]>::to_vec).collect()
}

#[test]
fn attention_equals_its_twin() {
    for (n_shared, lengths) in
        [(0, vec![5]), (0, vec![1, 9, 4]), (0, vec![70, 131]), (3, vec![1, 9, 4]), (66, vec![67, 5])]
    {
        let (n, shape) = (n_shared + lengths.iter().sum::<usize>(), sharing(n_shared, &lengths));
        let qkv = noise((n, 80), 1);
        let twin = attention_portable(&qkv, &shape).unwrap().to_vec2::<f32>().unwrap();
        for (a, b) in attention(&qkv, &shape).iter().zip(&twin) {
            assert_close("row", a, b, 2e-5);
        }
    }
}

/// Heads that share keys go through attention as rows of one product, whatever their number.
#[test]
fn attention_of_any_group_keeps_the_laws() {
    for (n_heads, n_kv_heads, n_shared, lengths) in
        [(2, 2, 0, vec![100, 7]), (4, 1, 5, vec![40, 3]), (9, 1, 0, vec![30]), (100, 1, 2, vec![3, 2])]
    {
        let shape = AttentionShape { n_heads, n_kv_heads, ..(*sharing(n_shared, &lengths)).clone() };
        let (n, q_width, width) =
            (n_shared + lengths.iter().sum::<usize>(), 8 * n_heads, 8 * (n_heads + 2 * n_kv_heads));
        let (qkv, d_out) = (Var::from_tensor(&noise((n, width), 1)).unwrap(), noise((n, q_width), 2));
        let twin = attention_portable(&qkv, &shape).unwrap();
        let gradients = (&twin * &d_out).unwrap().sum_all().unwrap().backward().unwrap();
        let values = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let attended = Attended::of(&values(&qkv), &shape);
        let (mut out, mut gradient) = (vec![0.0; n * q_width], vec![0.0; n * width]);
        attended.rows(&shape, 0..n, &mut out);
        assert_close("row", &out, &values(&twin), 2e-5);
        attended.backward(&values(&qkv), &values(&d_out), &shape).rows(&shape, 0..n, &mut gradient);
        assert_close("gradient", &gradient, &values(gradients.get(&qkv).unwrap()), 1e-4);
    }
}

#[test]
fn packed_sequences_see_only_themselves() {
    let run = |start: usize, lengths: &[usize]| {
        let n = lengths.iter().sum();
        let qkv = noise((12, 80), 1).narrow(0, start, n).unwrap().contiguous().unwrap();
        attention(&qkv, &shape(lengths))
    };
    assert_eq!(run(0, &[7, 5])[7..], run(7, &[5]));
}

#[test]
fn a_common_start_is_seen_as_each_sequences_own() {
    let all = noise((12, 80), 1);
    let run = |rows: &[u32], shape: &Arc<AttentionShape>| {
        let rows = Tensor::from_slice(rows, rows.len(), &Device::Cpu).unwrap();
        attention(&all.index_select(&rows, 0).unwrap(), shape)
    };
    let together = run(&(0..12).collect::<Vec<_>>(), &sharing(4, &[3, 5]));
    let first = run(&[0, 1, 2, 3, 4, 5, 6], &shape(&[7]));
    let second = run(&[0, 1, 2, 3, 7, 8, 9, 10, 11], &shape(&[9]));
    for (a, b) in together.iter().zip(first.iter().chain(&second[4..])) {
        assert_close("row", a, b, 1e-5);
    }
}

#[test]
fn cached_attention_equals_uncached() {
    let narrow = shape(&[]);
    // Where products are rounded, keys and values of wide heads are kept in half floats.
    let rope = Arc::new(RopeTable::new(&[0.3; 16], 256));
    let wide = AttentionShape { n_heads: 10, n_kv_heads: 2, head_dim: 32, rope, ..(*narrow).clone() };
    for of in [&narrow, &Arc::new(wide)] {
        let shape = |lengths: &[usize]| AttentionShape { lengths: lengths.to_vec(), ..(**of).clone() };
        let qkv = noise((240, (of.n_heads + 2 * of.n_kv_heads) * of.head_dim), 1);
        let whole = attention(&qkv, &shape(&[240]));
        let mut caches = [CachedKeys::default(), CachedKeys::default()];
        // Of the same rows one sequence reads more than the other, and once it forgets some.
        let steps = [[0..201, 0..30], [201..202, 30..31], [202..211, 31..33], [211..215, 33..37]];
        for own in steps.into_iter().chain([[205..240, 37..90], [240..240, 90..92]]) {
            if own[0].start == 205 {
                caches[0].truncate(205, of.head_dim);
            }
            let (own, mut caches): (Vec<_>, Vec<_>) =
                own.into_iter().zip(&mut caches).filter(|(rows, _)| !rows.is_empty()).unzip();
            let parts: Vec<_> = own.iter().map(|r| qkv.narrow(0, r.start, r.len()).unwrap()).collect();
            let lengths: Vec<_> = own.iter().map(std::ops::Range::len).collect();
            let parts = Tensor::cat(&parts, 0).unwrap();
            let rows = attend_cached(&parts, &shape(&lengths), &mut caches).unwrap().to_vec2().unwrap();
            for (a, i) in rows.iter().zip(own.into_iter().flatten()) {
                assert_close("row", a, &whole[i], 1e-5);
            }
        }
    }
}

#[test]
fn cross_entropy_keeps_the_laws() {
    let targets: Vec<u32> = (0..11).map(|i| (i * 7) % 50).collect();
    let inputs = [(noise((11, 24), 1) * 2.0).unwrap()];
    // A vocabulary that is gone through at one go, and ones that are not; packed, and as the embedding: in float32 in rows.
    let weight = |vocab: usize| noise((vocab, 24), 3);
    let heads = [50, 1300, 2600].map(|vocab| FrozenLinear::new(&weight(vocab)).unwrap());
    for head in heads.iter().chain(&[FrozenLinear::looked_up(&weight(1300)).unwrap()]) {
        check(
            "cross_entropy",
            &|t| Ok(cross_entropy(t[0], head, &targets, 20)?.0),
            &|t| cross_entropy_portable(t[0], head, &targets, 20),
            &inputs,
        );
    }
    let head = &heads[0];
    let loss = cross_entropy(&inputs[0], head, &targets, 11).unwrap().0.to_scalar::<f32>().unwrap();
    let log_probs = token_log_probs(&inputs[0], head, &targets).unwrap();
    assert!((loss + log_probs.iter().sum::<f32>() / 11.0).abs() < 1e-5);
    let (_, told) = cross_entropy(&inputs[0], head, &targets, 11).unwrap();
    assert_close("told", &told, &log_probs, 1e-6);
}

#[test]
fn log_probabilities_stand_in_the_places_of_their_targets() {
    // More rows than a block has.
    let (n, head) = (300, FrozenLinear::new(&noise((50, 24), 3)).unwrap());
    let (hidden, targets) = ((noise((n, 24), 1) * 2.0).unwrap(), (0..n as u32).map(|i| (i * 7) % 50));
    let all = candle_nn::ops::log_softmax(&head.forward(&hidden).unwrap(), 1).unwrap();
    let all = all.to_vec2::<f32>().unwrap();
    let expected: Vec<f32> = targets.clone().zip(all).map(|(target, row)| row[target as usize]).collect();
    let told = token_log_probs(&hidden, &head, &targets.collect::<Vec<_>>()).unwrap();
    assert_close("log-probabilities", &told, &expected, 1e-4);
}

#[test]
fn a_target_outside_the_vocabulary_is_refused() {
    let head = FrozenLinear::new(&noise((50, 24), 3)).unwrap();
    assert!(cross_entropy(&noise((1, 24), 1), &head, &[50], 1).is_err());
}

#[test]
fn the_divergence_is_nought_where_nothing_changed_and_has_the_right_gradient() {
    let head = FrozenLinear::new(&noise((50, 24), 3)).unwrap();
    let (from, to) = ((noise((5, 24), 1) * 2.0).unwrap(), (noise((5, 24), 2) * 2.0).unwrap());
    let value = |to: &Tensor| kl_divergence(&from, to, &head).unwrap().to_scalar::<f32>().unwrap();
    assert!(value(&from).abs() < 1e-6 && value(&to) > 0.1, "{} {}", value(&from), value(&to));
    // As the definition has it: the sum of p (ln p - ln q), row by row.
    let distribution = |hidden: &Tensor| {
        candle_nn::ops::log_softmax(&head.forward(hidden).unwrap(), 1).unwrap().to_vec2::<f32>().unwrap()
    };
    let pairs = distribution(&from).into_iter().flatten().zip(distribution(&to).into_iter().flatten());
    let expected = pairs.map(|(p, q)| p.exp() * (p - q)).sum::<f32>() / 5.0;
    assert_close("divergence", &[value(&to)], &[expected], 1e-4);
    if !level().rounds() {
        let op: Op = &|t| kl_divergence(&from, t[0], &head);
        let (_, grads) = gradients(op, std::slice::from_ref(&to));
        check_numerically("kl_divergence", op, std::slice::from_ref(&to), (0, &grads[0], to.elem_count()));
    }
}
