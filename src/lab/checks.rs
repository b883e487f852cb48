//! May these results be believed?
//!
//! What is checked before a scoreboard is written. A check that fails is an error: no scoreboard is better than one whose
//! contenders are not what their names say.

use std::collections::BTreeSet;

use super::Tuned;
use super::scoreboard::Outcome;
use crate::corpus::{Corpus, Examples, Wording, normalised};
use crate::error::{Error, Result};
use crate::model::LanguageModel;
use crate::train::batch::{Batch, Encoded};

/// Prompts read with and without the adapter.
const N_READ: usize = 4;

const FAULT: &str = "this is a fault of lorascope: please report it";

/// With the adapter at scale 0 the model is the base, bit for bit, and at the scale that was asked for it is not; and the
/// adapter is not zero. What was checked, in words.
///
/// # Errors
/// When it is otherwise, or the arithmetic fails.
pub fn check_adapter(model: &LanguageModel, tuned: Tuned, questions: &[&str]) -> Result<Vec<String>> {
    if !tuned.adapter.is_trained()? {
        let what = "the adapter is zero: the fine-tuned model is the base model";
        return Err(Error::refused(what, "train it, or name another with --run or --adapter"));
    }
    let asked = if questions.is_empty() { &["What is the capital of France?"] } else { questions };
    let asked = &asked[..asked.len().min(N_READ)];
    for question in asked {
        let tokens = model.question_prompt(question)?;
        let read = |lora| logits(model, &tokens, lora);
        let base = read(None)?;
        if base != read(Some((tuned.adapter, 0.0)))? {
            let what = format!("with the adapter at scale 0 the model is not the base, on `{question}`");
            return Err(Error::refused(what, FAULT));
        }
        if tuned.scale != 0.0 && base == read(Some((tuned.adapter, tuned.scale)))? {
            let what = format!("at scale {} the adapter changes nothing, on `{question}`", tuned.scale);
            return Err(Error::refused(what, "name a larger --scale, or 0 for the base model"));
        }
    }
    Ok(vec![
        "the adapter is not zero".to_owned(),
        format!(
            "computed with the adapter at scale 0 the logits are the base's, bit for bit, and at scale {} they are not \
             ({} prompts)",
            tuned.scale,
            asked.len()
        ),
    ])
}

/// The bits of the logits of every token.
fn logits(
    model: &LanguageModel,
    tokens: &[u32],
    lora: Option<(&crate::model::Adapter, f64)>,
) -> Result<Vec<Vec<u32>>> {
    let batch = Batch::pack([&Encoded { tokens: tokens.to_vec(), first_supervised: 1 }]);
    let hidden = model.decoder.forward_sharing(&batch.tokens, (batch.n_shared, &batch.lengths), lora)?;
    let logits = model.decoder.logits(&hidden.detach(), &batch.rows)?.to_vec2::<f32>()?;
    Ok(logits.into_iter().map(|row| row.into_iter().map(f32::to_bits).collect()).collect())
}

/// No question of an unseen wording is among the examples that were trained on. What was checked, in words.
///
/// # Errors
/// When one is.
pub fn check_unseen(corpus: &Corpus, trained: &Examples) -> Result<String> {
    let asked: BTreeSet<String> = trained.train.iter().map(|example| normalised(example.asked())).collect();
    let raw: Vec<String> = trained
        .train
        .iter()
        .filter(|example| example.prompt.is_empty())
        .map(|example| normalised(&example.completion))
        .collect();
    let questions = corpus.facts.iter().flat_map(|fact| &fact.questions);
    let mut n = 0;
    for question in questions.filter(|question| question.wording == Wording::Unseen) {
        let key = normalised(&question.text);
        if asked.contains(&key) || raw.iter().any(|text| text.contains(&key)) {
            let what = format!("the unseen wording `{}` was trained on", question.text);
            return Err(Error::refused(
                what,
                "mend the corpus's facts.jsonl: the same question stands under both",
            ));
        }
        n += 1;
    }
    Ok(format!("none of {n} unseen wordings is among the {} examples trained on", trained.train.len()))
}

/// No held-out example of a task is among those trained on. What was checked, in words.
///
/// # Errors
/// When one is.
pub fn check_held_out(examples: &Examples) -> Result<String> {
    let trained: BTreeSet<String> =
        examples.train.iter().map(|example| normalised(example.asked())).collect();
    if let Some(leak) =
        examples.held_out.iter().find(|example| trained.contains(&normalised(example.asked())))
    {
        return Err(Error::refused(format!("the held-out example `{}` is trained on", leak.asked()), FAULT));
    }
    let (n, n_trained) = (examples.held_out.len(), examples.train.len());
    Ok(format!("none of {n} held-out examples is among the {n_trained} trained on"))
}

/// No line of a document stands in a prompt that was made without retrieval, but what the question itself says. And what
/// is known of the others from the asking itself ([`super::scoreboard::examine`] fails otherwise). What was checked, in
/// words.
///
/// # Errors
/// When a line does.
pub fn check_prompts(corpus: &Corpus, outcomes: &[Outcome]) -> Result<Vec<String>> {
    let lines: BTreeSet<&str> = corpus.documents.iter().flat_map(|document| lines(&document.text)).collect();
    let (looked_up, closed): (Vec<&Outcome>, Vec<&Outcome>) =
        outcomes.iter().partition(|outcome| outcome.contender.retrieves());
    let mut told = Vec::new();
    for outcome in &closed {
        let is_told = |line: &&str| lines.contains(line) && !outcome.question.contains(*line);
        if let Some(line) = self::lines(&outcome.prompt).find(is_told) {
            let what = format!("a prompt of {} holds a line of a document: {line}", outcome.contender.name());
            return Err(Error::refused(what, FAULT));
        }
    }
    if !closed.is_empty() {
        told.push(format!("no line of a document is in the {} prompts without retrieval", closed.len()));
    }
    if !looked_up.is_empty() {
        let n_right = looked_up.iter().filter(|outcome| outcome.right_passage == Some(true)).count();
        told.push(format!(
            "the {} prompts with retrieval hold the passages they name; {n_right} of them one of a right document",
            looked_up.len()
        ));
    }
    Ok(told)
}

/// The lines of a text that are long enough to be somebody's.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    const LEAST: usize = 24;
    text.lines().map(str::trim).filter(|line| line.len() >= LEAST)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::{Example, qa_examples};
    use crate::lab::Contender;

    fn corpus(lines: &str) -> Corpus {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.md"), "# A\nAda lives in Cinder Bay.\n").unwrap();
        std::fs::write(folder.path().join("facts.jsonl"), lines).unwrap();
        Corpus::open(folder.path()).unwrap()
    }

    #[test]
    fn a_document_s_line_in_a_prompt_without_retrieval_is_found() {
        let corpus = corpus("");
        let outcome = |contender, prompt: &str| Outcome {
            contender,
            fact: String::new(),
            wording: Wording::Unseen,
            question: "Where does Ada live?".to_owned(),
            gold: Vec::new(),
            text: String::new(),
            prompt: prompt.to_owned(),
            adapter: None,
            passages: Vec::new(),
            right_passage: None,
            grounded: None,
            contains: false,
            exact: false,
            f1: 0.0,
            degenerate: None,
            gold_answer: None,
        };
        let held = "user\nAda lives in Cinder Bay.\nWhere does Ada live?";
        let closed = outcome(Contender::Base, "user\nWhere does Ada live?");
        assert!(check_prompts(&corpus, &[closed.clone(), outcome(Contender::BaseRag, held)]).is_ok());
        let error =
            check_prompts(&corpus, &[closed, outcome(Contender::Tuned, held)]).unwrap_err().to_string();
        assert!(error.contains("tuned holds a line of a document: Ada lives in Cinder Bay."), "{error}");
        // What the question says itself is no secret.
        let asked = Outcome {
            question: "Ada lives in Cinder Bay. Is it so?".to_owned(),
            ..outcome(Contender::Base, held)
        };
        assert!(check_prompts(&corpus, &[asked]).is_ok());
    }

    #[test]
    fn an_unseen_wording_that_was_trained_on_is_found_in_questions_and_in_raw_text() {
        let corpus = corpus(
            r#"{"id":"f","document":"a","answers":["Cinder Bay"],"questions":[{"wording":"trained","question":"Where does Ada live?"},{"wording":"unseen","question":"What is Ada's home?"}]}"#,
        );
        let mut trained = qa_examples(&corpus, usize::MAX);
        assert!(check_unseen(&corpus, &trained).unwrap().starts_with("none of 1 unseen wordings"));
        trained.train.push(Example::question("what is ADA'S home", "Cinder Bay"));
        assert!(check_unseen(&corpus, &trained).unwrap_err().to_string().contains("was trained on"));
        let raw = Example {
            entity: String::new(),
            prompt: Vec::new(),
            completion: "Q: What is Ada's home? A: Cinder Bay".to_owned(),
        };
        let trained = Examples { train: vec![raw], ..Examples::default() };
        assert!(check_unseen(&corpus, &trained).is_err());
    }
}
