//! Does the fact board tell what the model holds likely, and does each cell get its turn?

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use lorascope::cancel::Cancel;
use lorascope::corpus::{Corpus, Wording, qa_examples};
use lorascope::error::Error;
use lorascope::lab::speed::{self, Runs};
use lorascope::train::batch::{Batch, Encoded};
use lorascope::train::evaluate::mean_loss;
use lorascope::train::facts::{FactSheet, READ_EVERY};

use crate::double::{Run, VOCAB, fresh, trained};
use crate::killing::model;

/// Some tokens for a question, and some for its answer: always the same for the same words.
fn encoded(question: &str, answer: &str) -> Encoded {
    let token = |(i, byte): (usize, u8)| 1 + ((i + usize::from(byte)) % (VOCAB - 1)) as u32;
    let of = |text: &str| text.bytes().take(9).enumerate().map(token).collect::<Vec<u32>>();
    let prompt = of(question);
    Encoded { first_supervised: prompt.len(), tokens: [prompt, of(answer)].concat() }
}

fn corpus() -> Corpus {
    Corpus::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("sample_corpus")).unwrap()
}

#[test]
fn what_is_read_is_the_probability_of_the_whole_answer_and_every_cell_has_its_turn() {
    let (corpus, folder, adapter) = (corpus(), tempfile::tempdir().unwrap(), trained(61));
    let model = model(folder.path());
    let encode = |e: &lorascope::corpus::Example| Ok(Some(encoded(e.asked(), &e.completion)));
    let sheet = FactSheet::new(&corpus, (&[], &[]), 200.0, &encode).unwrap();
    assert!(sheet.cells.len() > 300 && sheet.cells.iter().all(|cell| cell.wording != Wording::Unanswerable));
    let mut seen = BTreeMap::new();
    for step in (0..sheet.cells.len()).map(|turn| READ_EVERY * turn) {
        for reading in sheet.read(&model, &adapter, step).unwrap() {
            seen.insert(reading.cell, reading.probability);
        }
    }
    assert_eq!(seen.len(), sheet.cells.len());
    for (cell, probability) in seen.iter().step_by(40) {
        let cell = &sheet.cells[*cell];
        let alone = encoded(&cell.question, &cell.answer);
        let n = alone.n_supervised() as f64;
        let loss = mean_loss(&model.decoder, Some((&adapter, 1.0)), &[alone]).unwrap();
        let expected = (-loss * n).exp();
        assert!(
            (f64::from(*probability) - expected).abs() <= 1e-3 * expected,
            "{probability} and {expected}"
        );
    }
    // The same step reads the same cells with the same result.
    let again = |step| sheet.read(&model, &adapter, step).unwrap();
    assert_eq!(again(8 * READ_EVERY), again(8 * READ_EVERY));
}

#[test]
fn an_update_tells_of_the_facts_it_trained_on_for_nothing() {
    let corpus = corpus();
    let examples = qa_examples(&corpus, usize::MAX);
    let train: Vec<_> = examples.train.iter().collect();
    let texts: Vec<Encoded> = train.iter().map(|e| encoded(e.asked(), &e.completion)).collect();
    let encode = |e: &lorascope::corpus::Example| Ok(Some(encoded(e.asked(), &e.completion)));
    let sheet = FactSheet::new(&corpus, (&train, &[]), 200.0, &encode).unwrap();
    let chosen: Vec<(usize, &Encoded)> = [3, 40, 41, 200].map(|i| (i, &texts[i])).into();
    let mut run = Run::new(fresh(62));
    let batches: Vec<Batch> =
        chosen.chunks(3).map(|part| Batch::pack(part.iter().map(|(_, e)| *e))).collect();
    let told = run.step(&batches).log_probs;
    let readings = sheet.trained(&chosen, &told);
    assert_eq!(readings.len(), 4);
    for (reading, (i, text)) in readings.iter().zip(&chosen) {
        let cell = &sheet.cells[reading.cell];
        assert_eq!((cell.wording, &cell.answer), (Wording::Trained, &train[*i].completion));
        // The fresh adapter is the base.
        let loss = mean_loss(&run.decoder, None, &[(*text).clone()]).unwrap();
        let expected = (-loss * text.n_supervised() as f64).exp();
        assert!((f64::from(reading.probability) - expected).abs() <= 1e-3 * expected.max(1e-12));
    }
    // What updates tell of is not read again.
    let told: BTreeSet<usize> = (0..train.len())
        .flat_map(|i| sheet.trained(&[(i, &texts[i])], &vec![0.0; texts[i].n_supervised()]))
        .map(|reading| reading.cell)
        .collect();
    let folder = tempfile::tempdir().unwrap();
    let (model, adapter) = (model(folder.path()), trained(63));
    for turn in 0..200 {
        let read = sheet.read(&model, &adapter, turn * READ_EVERY).unwrap();
        assert!(read.iter().all(|reading| !told.contains(&reading.cell)));
    }
}

#[test]
fn what_the_board_costs_is_measured_in_pairs_and_leaves_nothing_behind() {
    let (corpus, folder) = (corpus(), tempfile::tempdir().unwrap());
    let model = model(folder.path());
    let place = folder.path().join("runs");
    let (mut heard, cancel) = (0, Cancel::new());
    let mut watch = |done| heard = done;
    let mut runs = Runs { n: 2, cancel: &cancel, watch: &mut watch };
    let cost = speed::board(&model, &corpus, &place, &mut runs).unwrap();
    assert_eq!((cost.percent.n(), cost.with_s.n(), cost.without_s.n(), heard), (2, 2, 2, 2));
    assert!(cost.with_s.min() > 0.0 && cost.without_s.min() > 0.0);
    assert_eq!(std::fs::read_dir(&place).unwrap().count(), 0);
    cancel.cancel();
    let mut runs = Runs { n: 2, cancel: &cancel, watch: &mut |_| {} };
    assert!(matches!(speed::board(&model, &corpus, &place, &mut runs), Err(Error::Cancelled)));
}
