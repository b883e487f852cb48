//! Does all of it work on text that was not written for this project?
//!
//! `make.py` brings entries of the Jargon File out of a Debian package into a corpus folder, here and now; nothing of them
//! is kept in the repository. Where there is no `apt-get`, or the network is forbidden, the test says so and is skipped.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

#[path = "../common/mod.rs"]
mod common;

use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use lorascope::cancel::Cancel;
use lorascope::corpus::{Chunking, Corpus, Wording, normalised};
use lorascope::rag::{Embedder, Index, Indexing, Rerank};

/// The corpus, made into `folder`; `None`, said aloud, where it cannot be had.
fn corpus(folder: &Path) -> Option<Corpus> {
    let skip = |why: &str| {
        // Written past the test harness, which would swallow it.
        std::io::stderr().write_all(format!("SKIPPED: the Jargon File: {why}\n").as_bytes()).unwrap();
        None
    };
    if std::env::var("LORASCOPE_OFFLINE").is_ok_and(|value| value == "1") {
        return skip("LORASCOPE_OFFLINE forbids fetching it");
    }
    if Command::new("apt-get").arg("--version").output().is_err() {
        return skip("there is no apt-get here");
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/jargon/make.py");
    let made = Command::new("python3").arg(script).arg(folder).output().unwrap();
    if !made.status.success() {
        return skip(&String::from_utf8_lossy(&made.stderr));
    }
    Some(Corpus::open(folder).unwrap())
}

#[test]
fn the_jargon_file_is_a_corpus_and_its_questions_find_their_entries() {
    let folder = tempfile::tempdir().unwrap();
    let Some(corpus) = corpus(&folder.path().join("jargon")) else { return };
    assert!(corpus.documents.len() >= 100, "{}", corpus.documents.len());
    assert_eq!(corpus.facts.len(), 100);
    for fact in &corpus.facts {
        let of_fact = corpus.documents.iter().find(|document| document.id == fact.documents[0]).unwrap();
        let text = normalised(&of_fact.text);
        let stands = fact.answers.iter().any(|answer| text.contains(&normalised(answer)));
        assert!(stands, "{}: no answer in {}", fact.id, of_fact.id);
    }
    let Some(embedder) = common::embedder() else { return };
    let cancel = Cancel::new();
    let embedder = Arc::new(Embedder::load(&embedder, "all-minilm-l6-v2").unwrap());
    let indexing = Indexing { embedder, chunking: Chunking::default(), cancel: &cancel };
    let (index, _) = Index::open(&folder.path().join("index"), &corpus, &indexing, &mut |_| {}).unwrap();
    let (mut n, mut n_first) = (0, 0);
    for fact in &corpus.facts {
        for question in fact.questions.iter().filter(|question| question.wording == Wording::Unseen) {
            let found = index.retrieve(&question.text, 1, Rerank::Fused).unwrap().passages;
            n += 1;
            n_first += usize::from(found.first().is_some_and(|best| fact.documents.contains(&best.document)));
        }
    }
    assert!(n_first * 10 >= n * 9, "the right entry came first for {n_first} of {n} questions");
}
