//! What do rehearsal and restraint change in an update?

use std::collections::BTreeSet;

use lorascope::train::batch::Batch;
use lorascope::train::data::{Replay, general_probe, replay_text};
use lorascope::train::optimizer::{AdamW, UpdateRule};
use lorascope::train::step::{Lesson, StepResult, train_step};

use crate::double::{Run, decoder, examples, fresh, largest_difference, logits, tuned_logits};

const RULE: UpdateRule = UpdateRule { lr: 1e-2, clip: 0.0 };

fn taught(run: &mut Run, lesson: &Lesson) -> StepResult {
    train_step(&run.decoder, &run.trainable, &mut run.optimizer, (lesson, RULE)).unwrap()
}

fn lesson() -> Lesson {
    Lesson::from(vec![Batch::pack(&examples(51, 4))])
}

#[test]
fn rehearsal_is_learnt_and_the_loss_told_is_that_of_the_examples() {
    let text = Batch::pack(&examples(52, 2));
    let (mut with, mut without) = (Run::new(fresh(5)), Run::new(fresh(5)));
    let rehearsing = Lesson { replay: Some(text.clone()), ..lesson() };
    let loss = [taught(&mut with, &rehearsing).loss, taught(&mut without, &lesson()).loss];
    assert!((loss[0] - loss[1]).abs() < 1e-5, "{loss:?}");
    for _ in 0..30 {
        taught(&mut with, &rehearsing);
        taught(&mut without, &lesson());
    }
    let on_text = |run: &mut Run| taught(run, &Lesson::from(vec![text.clone()])).loss;
    let (rehearsed, not) = (on_text(&mut with), on_text(&mut without));
    assert!(rehearsed < 0.5 * not, "{rehearsed} and {not}");
}

#[test]
fn restraint_keeps_the_model_near_the_base() {
    let text = examples(53, 1);
    let restrained = Lesson { restraint: Some((Batch::pack(&text), 10.0)), ..lesson() };
    let base = logits(&decoder(), &[&text[0].tokens], None);
    let departed = |lesson: &Lesson| {
        let mut run = Run::new(fresh(6));
        for _ in 0..30 {
            taught(&mut run, lesson);
        }
        let adapter = run.trainable.publish().unwrap();
        largest_difference(&tuned_logits(&run.decoder, &[&text[0].tokens], (&adapter, 1.0)), &base)
    };
    let (held, free) = (departed(&restrained), departed(&lesson()));
    assert!(held < 0.5 * free, "{held} and {free}");
}

#[test]
fn restraint_alone_changes_nothing_at_the_start() {
    // The fresh adapter is the base, so the divergence and its gradient are nought.
    let mut run = Run::new(fresh(7));
    run.optimizer = AdamW::new(&run.trainable.weights, 0.0);
    let nothing = Lesson { restraint: Some((Batch::pack(&examples(54, 1)), 1.0)), ..Lesson::default() };
    assert!(taught(&mut run, &nothing).grad_norm < 1e-4);
}

#[test]
fn an_epoch_rehearses_its_share_evenly() {
    let replay = Replay { pieces: examples(55, 3), n_an_epoch: 7 };
    let of = |step| replay.of_step(step, 4).map(|piece| piece.tokens.clone()).collect::<Vec<_>>();
    let epochs: Vec<_> = (1..=8).map(of).collect();
    assert!(epochs.iter().all(|step| (1..=2).contains(&step.len())));
    let read: Vec<_> = epochs.concat();
    let expected: Vec<_> = replay.pieces.iter().cycle().take(14).map(|piece| piece.tokens.clone()).collect();
    assert_eq!(read, expected);
    assert_eq!(Replay::default().of_step(1, 4).count(), 0);
}

#[test]
fn what_is_rehearsed_is_not_what_forgetting_is_measured_on() {
    let (probe, replay) = (general_probe().unwrap(), replay_text().unwrap());
    let runs = |text: &str| {
        let words: Vec<String> = text.split_whitespace().map(str::to_lowercase).collect();
        words.windows(8).map(|run| run.join(" ")).collect::<BTreeSet<_>>()
    };
    let known: BTreeSet<String> = probe.iter().flat_map(|passage| runs(&passage.text)).collect();
    for passage in &replay {
        assert!(runs(&passage.text).is_disjoint(&known), "{} is in the probe too", passage.id);
    }
    assert!(replay.len() >= 40);
}
