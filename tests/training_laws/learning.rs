//! What may one update change, and what never?

use candle_core::{Device, Tensor};
use lorascope::model::decoder::Decoder;
use lorascope::model::lora::{Projection, TrainableAdapter};
use lorascope::train::batch::{Batch, Encoded};
use lorascope::train::optimizer::{AdamW, UpdateRule, gradient_of};

use crate::double::{
    Run, config, decoder, examples, fresh, largest_difference, logits, lora, trained, tuned_logits, values,
    weights,
};

const PROBE: [u32; 9] = [3, 17, 8, 44, 21, 5, 9, 30, 12];

#[test]
fn a_fresh_adapter_equals_the_base() {
    let (decoder, adapter) = (decoder(), fresh(1).publish().unwrap());
    assert!(!adapter.is_trained().unwrap());
    assert_eq!(tuned_logits(&decoder, &[&PROBE], (&adapter, 1.0)), logits(&decoder, &[&PROBE], None));
}

#[test]
fn a_scale_of_nought_equals_the_base_and_more_scale_changes_more() {
    let (decoder, adapter) = (decoder(), trained(2));
    let base = logits(&decoder, &[&PROBE], None);
    let at = |scale| tuned_logits(&decoder, &[&PROBE], (&adapter, scale));
    assert_eq!(at(0.0), base);
    let (little, whole) = (largest_difference(&at(0.1), &base), largest_difference(&at(1.0), &base));
    assert!(little > 1e-3 && whole > 2.0 * little, "{little} {whole}");
}

#[test]
fn the_base_is_unchanged_to_the_bit() {
    let weights = weights();
    let read = || weights.named().iter().map(|(_, t)| values(t)).collect::<Vec<_>>();
    let before = read();
    let mut run = Run::new(fresh(3));
    // The decoder reads the very storage of the embedding that is watched; its packed layers show in the logits.
    run.decoder = Decoder::new(config(), weights.clone()).unwrap();
    let base = logits(&run.decoder, &[&PROBE], None);
    let batch = Batch::pack(&examples(3, 4));
    for _ in 0..5 {
        run.step(std::slice::from_ref(&batch));
    }
    assert!(run.trainable.adapter.is_trained().unwrap());
    assert_eq!(read(), before);
    assert_eq!(logits(&run.decoder, &[&PROBE], None), base);
}

#[test]
fn every_variable_gets_a_gradient() {
    let mut run = Run::new(fresh(4));
    let before = run.values();
    let batch = Batch::pack(&examples(4, 4));
    // B starts at zero, so the first update reaches B alone and the second A too.
    run.step(std::slice::from_ref(&batch));
    for ((name, now), (_, then)) in run.values().iter().zip(&before) {
        assert_eq!(now != then, name.contains("lora_B"), "{name} after one update");
    }
    run.step(std::slice::from_ref(&batch));
    for ((name, now), (_, then)) in run.values().iter().zip(&before) {
        let n_still = now.iter().zip(then).filter(|(a, b)| a.to_bits() == b.to_bits()).count();
        assert!(n_still * 10 < now.len(), "{n_still} of {} values of {name} stand still", now.len());
    }
}

#[test]
fn lora_on_one_projection_trains_that_one() {
    for projection in Projection::ALL {
        let start = TrainableAdapter::fresh(&lora(&[projection]), &config(), "double", 5).unwrap();
        assert_eq!(start.n_trainable(), lora(&[projection]).n_trainable(&config()));
        let mut run = Run::new(start);
        let before = run.values();
        assert_eq!(before.len(), 2 * config().n_layers);
        let batch = Batch::pack(&examples(5, 4));
        let first = run.step(std::slice::from_ref(&batch)).loss;
        let mut last = first;
        for _ in 0..10 {
            last = run.step(std::slice::from_ref(&batch)).loss;
        }
        assert!(last < first, "{}: {first} to {last}", projection.name());
        for ((name, now), (_, then)) in run.values().iter().zip(&before) {
            assert!(name.contains(projection.name()) && now != then, "{name}");
        }
        let others = Projection::ALL.into_iter().filter(|p| *p != projection);
        let adapter = run.trainable.publish().unwrap();
        assert!(others.into_iter().all(|other| adapter.get(0, other).is_none()));
    }
}

#[test]
fn sixty_updates_overfit_one_batch() {
    let mut run = Run::new(fresh(6));
    run.lr = 2e-2;
    let batch = Batch::pack(&examples(6, 4));
    let losses: Vec<f64> = (0..60).map(|_| run.step(std::slice::from_ref(&batch)).loss).collect();
    assert!(losses[59] < losses[0] * 0.25, "from {} to {}", losses[0], losses[59]);
}

#[test]
fn the_same_seed_gives_the_same_numbers() {
    let train = |seed| {
        let mut run = Run::new(fresh(seed));
        let batches: Vec<Batch> = (0..6).map(|i| Batch::pack(&examples(i, 4))).collect();
        let losses: Vec<u64> =
            batches.iter().map(|b| run.step(std::slice::from_ref(b)).loss.to_bits()).collect();
        (losses, run.trainable.publish().unwrap().digest().unwrap())
    };
    assert_eq!(train(7), train(7));
    assert_ne!(train(7).1, train(8).1);
}

#[test]
fn accumulated_micro_steps_equal_one_batch() {
    let all = examples(9, 6);
    let mut whole = Run::new(fresh(9));
    let mut parts = Run::new(fresh(9));
    for _ in 0..3 {
        let a = whole.step(&[Batch::pack(&all)]);
        let b = parts.step(&[Batch::pack(&all[..1]), Batch::pack(&all[1..4]), Batch::pack(&all[4..])]);
        assert!((a.loss - b.loss).abs() < 1e-5 * a.loss, "{} {}", a.loss, b.loss);
        assert!((a.grad_norm - b.grad_norm).abs() < 1e-4 * a.grad_norm, "{} {}", a.grad_norm, b.grad_norm);
    }
}

#[test]
fn a_common_start_that_is_read_once_teaches_the_same() {
    let start: Vec<u32> = (1..13).collect();
    let sharing = |example: &Encoded| Encoded {
        tokens: [&start[..], &example.tokens].concat(),
        first_supervised: start.len() + example.first_supervised,
    };
    let all: Vec<Encoded> = examples(12, 5).iter().map(sharing).collect();
    assert!(Batch::pack(&all).n_shared >= start.len());
    let mut whole = Run::new(fresh(12));
    let mut alone = Run::new(fresh(12));
    for _ in 0..3 {
        let a = whole.step(&[Batch::pack(&all)]);
        let b = alone.step(&all.chunks(1).map(Batch::pack).collect::<Vec<_>>());
        assert!((a.loss - b.loss).abs() < 1e-5 * a.loss, "{} {}", a.loss, b.loss);
        assert!((a.grad_norm - b.grad_norm).abs() < 1e-4 * a.grad_norm, "{} {}", a.grad_norm, b.grad_norm);
    }
}

#[test]
fn a_gradient_that_is_no_number_is_refused() {
    let trainable = fresh(10);
    let before = trainable.publish().unwrap().digest().unwrap();
    let mut optimizer = AdamW::new(&trainable.weights, 0.0);
    for bad in [f32::NAN, f32::INFINITY] {
        let mut values = vec![0.1; trainable.n_trainable()];
        values[3] = bad;
        let gradient = Tensor::new(values, &Device::Cpu).unwrap();
        let rule = UpdateRule { lr: 1e-3, clip: 1.0 };
        let refused = optimizer.update(&trainable.weights, &gradient, rule).unwrap_err().to_string();
        assert!(refused.contains("norm") && refused.contains("--lr"), "{refused}");
    }
    assert_eq!(trainable.publish().unwrap().digest().unwrap(), before);
}

#[test]
fn weights_without_a_gradient_are_refused() {
    let trainable = fresh(11);
    let other = candle_core::Var::new(&[1.0_f32], &Device::Cpu).unwrap();
    let loss = other.as_tensor().sqr().unwrap().sum_all().unwrap();
    // A pass whose gradient nobody took must not stand in for it.
    trainable.adapter.gradient().unwrap().add(vec![1.0; trainable.n_trainable()]);
    let refused = gradient_of(&trainable, &loss).unwrap_err().to_string();
    assert!(refused.contains("no gradient"), "{refused}");
}

#[test]
fn the_gradient_s_own_place_gets_what_candle_would() {
    let (trainable, decoder) = (fresh(12), decoder());
    // The same weights without a place of its own: the gradient passes through candle.
    let plain = trainable.adapter.over(trainable.weights.as_tensor().clone()).unwrap();
    let loss = |adapter| {
        let hidden = decoder.forward(&[3, 1, 4, 1, 5], &[3, 2], Some((adapter, 1.0))).unwrap();
        hidden.sqr().unwrap().sum_all().unwrap()
    };
    let store = loss(&plain).backward().unwrap();
    let through_candle = store.get(&trainable.weights).unwrap().to_vec1::<f32>().unwrap();
    let own = gradient_of(&trainable, &loss(&trainable.adapter)).unwrap().to_vec1::<f32>().unwrap();
    assert!(own == through_candle && own.iter().any(|&v| v != 0.0));
}
