//! Does the retriever find the right document for every question about the sample corpus?
//!
//! BM25 alone needs no model, so its order is recorded in `references/retrieval.json` and compared exactly:
//! for each unseen question the documents at ranks 1 to 3. When the order changes on purpose, the failing
//! test has written the new list and names it; look at the differences and copy it over the old one.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

mod common;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use lorascope::cancel::Cancel;
use lorascope::corpus::{Chunking, Corpus, Question, Wording};
use lorascope::error::Result;
use lorascope::lab::retrieved;
use lorascope::lab::scoreboard::items;
use lorascope::rag::{Embed, Embedder, Index, Indexing, Rerank};

const RECORDED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/references/retrieval.json");
/// Where the new list goes when it differs.
const FOUND: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/retrieval.json");

/// Counts words and punctuation marks, about as many as the real tokenizer's tokens; its vectors say nothing.
struct NoEmbedder;

impl Embed for NoEmbedder {
    fn embed(&self, texts: &[&str], _: &Cancel) -> Result<Vec<Vec<f32>>> {
        Ok(vec![vec![1.0]; texts.len()])
    }

    fn count_tokens(&self, text: &str) -> usize {
        let n_marks = text.chars().filter(char::is_ascii_punctuation).count();
        text.split_whitespace().count() + n_marks
    }

    fn name(&self) -> &'static str {
        "none"
    }
}

struct Lab {
    _dir: tempfile::TempDir,
    corpus: Corpus,
    index: Index,
}

impl Lab {
    fn new(embedder: impl Embed + 'static) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let corpus = Corpus::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("sample_corpus")).unwrap();
        let cancel = Cancel::new();
        let indexing =
            Indexing { embedder: Arc::new(embedder), chunking: Chunking::default(), cancel: &cancel };
        let (index, _) = Index::open(dir.path(), &corpus, &indexing, &mut |_| {}).unwrap();
        Self { _dir: dir, corpus, index }
    }

    /// Every question of the wording about one document, with that document's id.
    fn questions(&self, wording: Wording) -> Vec<(&str, &str)> {
        let facts = self.corpus.facts.iter().filter(|fact| fact.documents.len() == 1);
        facts
            .flat_map(|fact| {
                let asked = fact.questions.iter().filter(|question| question.wording == wording);
                asked.map(|question| (question.text.as_str(), fact.documents[0].as_str()))
            })
            .collect()
    }

    /// The documents of the three best passages.
    fn documents(&self, question: &str, rerank: Rerank) -> Vec<String> {
        let found = self.index.retrieve(question, 3, rerank).unwrap().passages;
        found.into_iter().map(|passage| passage.document).collect()
    }

    /// Fails below this share, in percent, of questions whose best passage is of the right document.
    fn assert_found(&self, wording: Wording, rerank: Rerank, percent: usize) {
        let questions = self.questions(wording);
        let missed: Vec<String> = questions
            .iter()
            .map(|&(question, right)| (question, right, self.documents(question, rerank)))
            .filter(|(_, right, found)| found.first().is_none_or(|first| first != right))
            .map(|(question, right, found)| format!("{question} {right}, not {found:?}"))
            .collect();
        let (n, n_found) = (questions.len(), questions.len() - missed.len());
        let what = format!("{n_found} of {n} {} questions, {}", wording.name(), rerank.name());
        assert!(n_found * 100 >= n * percent, "{what}; missed:\n{}", missed.join("\n"));
    }
}

#[test]
fn bm25_alone_puts_the_right_document_first() {
    let lab = Lab::new(NoEmbedder);
    lab.assert_found(Wording::Trained, Rerank::Off, 98);
    lab.assert_found(Wording::Unseen, Rerank::Off, 95);
}

#[test]
fn bm25_finds_what_was_recorded() {
    let lab = Lab::new(NoEmbedder);
    let questions = lab.questions(Wording::Unseen);
    let found: Vec<(&str, Vec<String>)> =
        questions.iter().map(|(question, _)| (*question, lab.documents(question, Rerank::Off))).collect();
    let recorded: BTreeMap<String, Vec<String>> =
        serde_json::from_str(&fs::read_to_string(RECORDED).unwrap_or_else(|_| "{}".into())).unwrap();
    let differs = |(question, documents): &&(&str, Vec<String>)| recorded.get(*question) != Some(documents);
    let difference = match found.iter().find(differs) {
        Some((question, documents)) => {
            let before = recorded.get(*question);
            format!("{question}\nrecorded {before:?}\nfound    {documents:?}")
        }
        None if recorded.len() > found.len() => "it holds questions that are not asked any more".into(),
        None => return,
    };
    fs::write(FOUND, listed(&found)).unwrap();
    panic!("{RECORDED} differs, first here:\n{difference}\nto keep the new list:\ncp {FOUND} {RECORDED}");
}

/// JSON with one question a line, in the order of the facts.
fn listed(found: &[(&str, Vec<String>)]) -> String {
    let mut text = String::new();
    for (question, documents) in found {
        let comma = if text.is_empty() { "{" } else { ",\n" };
        let (question, documents) = (serde_json::json!(question), serde_json::json!(documents));
        write!(text, "{comma}{question}: {documents}").unwrap();
    }
    text + "}\n"
}

#[test]
fn the_fused_order_puts_the_right_document_first() {
    let Some(folder) = common::embedder() else { return };
    let lab = Lab::new(Embedder::load(&folder, "all-minilm-l6-v2").unwrap());
    lab.assert_found(Wording::Unseen, Rerank::Fused, 90);
}

#[test]
fn what_is_measured_of_retrieval_is_what_is_found() {
    let lab = Lab::new(NoEmbedder);
    let asked = [Wording::Unseen, Wording::Unanswerable]
        .map(|wording| items(&lab.corpus, wording, usize::MAX))
        .concat();
    let found = retrieved(&lab.index, (&asked, 1), &Cancel::new(), &mut |_| {}).unwrap();
    let questions = lab.corpus.facts.iter().flat_map(|fact| {
        let unseen = fact.questions.iter().filter(|question| question.wording == Wording::Unseen);
        unseen.map(|question| (question, &fact.documents))
    });
    let is_first = |order: Rerank| {
        let right = |(question, documents): &(&Question, &Vec<String>)| {
            lab.documents(&question.text, order).first().is_some_and(|first| documents.contains(first))
        };
        questions.clone().filter(right).count()
    };
    let n = questions.clone().count();
    assert_eq!(found.n, n, "what has no answer is not looked up");
    for (name, order) in [("bm25", Rerank::Off), ("fused", Rerank::Fused)] {
        let share = is_first(order) as f64 / n as f64;
        assert!((found.all[name].recall_at[&1] - share).abs() < 1e-12, "{name}");
        assert_eq!(found.by_wording[&Wording::Unseen][name], found.all[name]);
    }
    assert_eq!(found.missed.len(), n - is_first(Rerank::Fused));
    assert!(found.all["bm25"].recall_at[&10] > found.all["bm25"].recall_at[&1]);
}
