//! How fast are texts embedded and passages found?

use std::time::Instant;

use super::{Runs, Sample};
use crate::corpus::{self, Corpus};
use crate::error::{Error, Result};
use crate::rag::{Embed, Index, Rerank, Timings};

/// Texts embedded at once.
pub const N_TEXTS: usize = 32;
/// Tokens of such a text, about.
pub const TEXT_TOKENS: usize = 56;
/// Questions looked up in one run.
const QUESTIONS_A_RUN: usize = 20;
/// Passages asked for.
const TOP: usize = 3;

/// The corpus's sentences, put together to texts of about [`TEXT_TOKENS`] tokens as `embedder` counts.
pub fn texts(corpus: &Corpus, embedder: &dyn Embed) -> Vec<String> {
    let sentences: Vec<&str> =
        corpus.documents.iter().flat_map(|document| sentences(&document.text)).collect();
    joined(&sentences, TEXT_TOKENS, &|text| embedder.count_tokens(text))
}

pub(super) fn sentences(text: &str) -> impl Iterator<Item = &str> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.flat_map(|line| corpus::sentences(line).into_iter().map(|range| &line[range]))
}

/// Neighbours joined as long as that brings a text nearer to `wanted` tokens; a last one that is not
/// full is left out, unless it is alone.
fn joined(sentences: &[&str], wanted: usize, count: &dyn Fn(&str) -> usize) -> Vec<String> {
    let mut texts = Vec::new();
    let mut text = String::new();
    for sentence in sentences {
        let longer = if text.is_empty() { (*sentence).to_owned() } else { format!("{text} {sentence}") };
        if !text.is_empty() && count(&longer).abs_diff(wanted) > count(&text).abs_diff(wanted) {
            texts.push(std::mem::replace(&mut text, (*sentence).to_owned()));
        } else {
            text = longer;
        }
    }
    if texts.is_empty() && !text.is_empty() {
        texts.push(text);
    }
    texts
}

/// Tokens a second in embedding [`N_TEXTS`] texts at once, other ones in each run. Padding is not counted,
/// tokenizing is.
///
/// # Errors
/// When there is no text, the embedder fails, or when cancelled.
pub fn embed(embedder: &dyn Embed, texts: &[String], runs: &mut Runs) -> Result<Sample> {
    if texts.is_empty() {
        return Err(Error::refused("there is no text to measure with", "choose another --corpus"));
    }
    let cancel = runs.cancel;
    runs.sample(|run| {
        let start = run * N_TEXTS % texts.len();
        let batch: Vec<&str> = texts.iter().cycle().skip(start).take(N_TEXTS).map(String::as_str).collect();
        let n_tokens: usize = batch.iter().map(|text| embedder.count_tokens(text)).sum();
        let begun = Instant::now();
        embedder.embed(&batch, cancel)?;
        Ok(n_tokens as f64 / begun.elapsed().as_secs_f64())
    })
}

/// Milliseconds of each stage of a retrieval, question by question.
#[derive(Debug, Clone, PartialEq)]
pub struct RetrieveTimes {
    /// Finding candidates by their words.
    pub bm25: Sample,
    /// Embedding the question.
    pub embed: Sample,
    /// Comparing and ordering the candidates.
    pub rerank: Sample,
    /// All of it.
    pub total: Sample,
}

/// What to look up: the corpus's questions, fact by fact and then the next one of each; or else the first
/// sentence of each document.
pub fn questions(corpus: &Corpus) -> Vec<String> {
    let most = corpus.facts.iter().map(|fact| fact.questions.len()).max().unwrap_or(0);
    let round = |i: usize| corpus.facts.iter().filter_map(move |fact| fact.questions.get(i));
    let asked: Vec<String> = (0..most).flat_map(round).map(|question| question.text.clone()).collect();
    if !asked.is_empty() {
        return asked;
    }
    let first = |text: &str| sentences(text).next().map(str::to_owned);
    corpus.documents.iter().filter_map(|document| first(&document.text)).collect()
}

/// How long retrieval takes, 20 questions a run.
///
/// # Errors
/// When there is no question, the embedder fails, or when cancelled.
pub fn retrieve(index: &Index, questions: &[String], runs: &mut Runs) -> Result<RetrieveTimes> {
    if questions.is_empty() {
        return Err(Error::refused("there is no question to look up", "choose another --corpus"));
    }
    let cancel = runs.cancel;
    let timings = runs.measure(|run| {
        let asked = questions.iter().cycle().skip(run * QUESTIONS_A_RUN % questions.len());
        let timings = asked.take(QUESTIONS_A_RUN).map(|question| {
            cancel.check()?;
            Ok(index.retrieve(question, TOP, Rerank::default())?.timings)
        });
        timings.collect::<Result<Vec<Timings>>>()
    })?;
    let stage = |of: fn(&Timings) -> f64| Sample::of(timings.iter().flatten().map(of).collect());
    Ok(RetrieveTimes {
        bm25: stage(|t| t.bm25),
        embed: stage(|t| t.embed),
        rerank: stage(|t| t.rerank),
        total: stage(|t| t.total),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> usize {
        text.split_whitespace().count()
    }

    #[test]
    fn sentences_are_joined_to_texts_near_the_wanted_length() {
        let sentence = ["one two three."; 12];
        let texts = joined(&sentence, 10, &words);
        assert_eq!(texts.iter().map(|t| words(t)).collect::<Vec<_>>(), [9, 9, 9], "the rest is left out");
        assert_eq!(joined(&["alone."], 10, &words), ["alone."]);
        assert!(joined(&[], 10, &words).is_empty());
    }

    #[test]
    fn headings_are_no_sentences() {
        let found: Vec<_> = sentences("# Head\n\nOne is here. Two is there.\n\n## More\nThree.\n").collect();
        assert_eq!(found, ["One is here.", "Two is there.", "Three."]);
    }

    #[test]
    fn the_sample_corpus_gives_each_of_its_questions_once() {
        let corpus = Corpus::open(std::path::Path::new("sample_corpus")).unwrap();
        let mut found = questions(&corpus);
        let mut expected: Vec<_> =
            corpus.facts.iter().flat_map(|f| f.questions.iter().map(|q| q.text.clone())).collect();
        assert_ne!(found[1], expected[1], "the second one is of the next fact");
        found.sort();
        expected.sort();
        assert_eq!(found, expected);
    }
}
