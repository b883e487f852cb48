//! How is `facts.jsonl` read, and what is wrong with a line of it?

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use serde::Deserialize;

use super::{Document, Fact, Question, Wording, normalised};
use crate::error::{Error, Result};

/// A line as it stands in the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FactLine {
    id: String,
    document: Option<String>,
    documents: Option<Vec<String>>,
    #[serde(default)]
    statement: String,
    answers: Vec<String>,
    questions: Vec<QuestionLine>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct QuestionLine {
    wording: Wording,
    question: String,
    answers: Option<Vec<String>>,
}

/// All facts of the file, or the first wrong line. Blank lines are passed over.
pub(super) fn parse(path: &Path, text: &str, documents: &[Document]) -> Result<Vec<Fact>> {
    let known: BTreeSet<&str> = documents.iter().map(|document| document.id.as_str()).collect();
    let mut seen = Seen::default();
    let mut facts = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let fact = fact_from(line, &known)
            .and_then(|fact| seen.note(fact, index + 1))
            .map_err(|what| Error::Line { path: path.to_path_buf(), line: index + 1, what })?;
        facts.push(fact);
    }
    seen.check_held_out(path, &facts)?;
    Ok(facts)
}

/// What earlier lines have used up.
#[derive(Default)]
struct Seen {
    /// Id to line.
    ids: HashMap<String, usize>,
    /// The line of each fact, in order.
    lines: Vec<usize>,
    /// Questions that training asks, to their line.
    trained: HashMap<String, usize>,
}

impl Seen {
    fn note(&mut self, fact: Fact, line: usize) -> Result<Fact, String> {
        if let Some(first) = self.ids.insert(fact.id.clone(), line) {
            return Err(format!("the id `{}` stands on line {first} already", fact.id));
        }
        self.lines.push(line);
        for question in fact.questions.iter().filter(|question| question.wording == Wording::Trained) {
            self.trained.entry(plain(&question.text)).or_insert(line);
        }
        Ok(fact)
    }

    /// A question that measures recall must not be one that training asks.
    fn check_held_out(&self, path: &Path, facts: &[Fact]) -> Result<()> {
        for (fact, &line) in facts.iter().zip(&self.lines) {
            for question in fact.questions.iter().filter(|question| question.wording != Wording::Trained) {
                if let Some(trained) = self.trained.get(&plain(&question.text)) {
                    let name = question.wording.name();
                    let what = format!(
                        "the {name} question \"{}\" is also a trained one (line {trained}); reword it",
                        question.text
                    );
                    return Err(Error::Line { path: path.to_path_buf(), line, what });
                }
            }
        }
        Ok(())
    }
}

/// Lower case, letters and digits only: what two spellings of one question share.
fn plain(question: &str) -> String {
    let words = question.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.map(str::to_lowercase).collect::<Vec<_>>().join(" ")
}

fn fact_from(line: &str, known: &BTreeSet<&str>) -> Result<Fact, String> {
    if !line.trim_start().starts_with('{') {
        return Err("a line is an object, { … }".into());
    }
    let line: FactLine = serde_json::from_str(line).map_err(|wrong| in_one_line(&wrong))?;
    let id = line.id.trim().to_owned();
    if id.is_empty() {
        return Err("`id` is empty".into());
    }
    let documents = match (line.document, line.documents) {
        (Some(one), None) => vec![one],
        (None, Some(several)) if !several.is_empty() => several,
        (Some(_), Some(_)) => return Err("both `document` and `documents` are given; keep one".into()),
        _ => return Err("missing field `document`".into()),
    };
    if let Some(unknown) = documents.iter().find(|id| !known.contains(id.as_str())) {
        return Err(format!("no document `{unknown}` in the corpus (ids are paths without the extension)"));
    }
    if line.questions.is_empty() {
        return Err("`questions` is empty".into());
    }
    check_answers(&line.answers, "`answers`")?;
    let mut texts = BTreeSet::new();
    let mut questions = Vec::new();
    for question in line.questions {
        let question = question_from(question, &line.answers)?;
        if !texts.insert(plain(&question.text)) {
            return Err(format!("the question \"{}\" is asked twice", question.text));
        }
        questions.push(question);
    }
    Ok(Fact { id, documents, statement: line.statement, answers: line.answers, questions })
}

fn question_from(line: QuestionLine, fact_answers: &[String]) -> Result<Question, String> {
    let text = line.question.trim().to_owned();
    if text.is_empty() {
        return Err(format!("a {} question is empty", line.wording.name()));
    }
    let about = format!("the answers to \"{text}\"");
    let answers = match (line.wording, line.answers) {
        (Wording::Unanswerable, Some(own)) if !own.is_empty() => {
            return Err(format!("\"{text}\" is unanswerable, so its `answers` must be empty"));
        }
        (Wording::Unanswerable, _) => Vec::new(),
        (_, own) => own.unwrap_or_else(|| fact_answers.to_vec()),
    };
    if answers.is_empty() && line.wording != Wording::Unanswerable {
        return Err(format!("\"{text}\" has no answer: neither its own nor the fact's"));
    }
    check_answers(&answers, &about)?;
    Ok(Question { wording: line.wording, text, answers })
}

fn check_answers(answers: &[String], whose: &str) -> Result<(), String> {
    if answers.iter().any(|answer| answer.trim().is_empty()) {
        return Err(format!("{whose}: one is blank"));
    }
    match answers.iter().find(|answer| normalised(answer).is_empty()) {
        Some(answer) => {
            Err(format!("{whose}: `{answer}` is articles and punctuation alone, which do not count"))
        }
        None => Ok(()),
    }
}

/// serde's message, with the column but without its own line number (it saw one line only).
fn in_one_line(wrong: &serde_json::Error) -> String {
    let message = wrong.to_string();
    let what = message.rsplit_once(" at line ").map_or(message.as_str(), |(what, _)| what);
    format!("{what} (column {})", wrong.column())
}
