//! What did the model know before?

use std::path::Path;

use serde::Deserialize;

use crate::error::{Error, Result};

/// Where the quiz lies, as errors name it.
const FILE: &str = "assets/probes/quiz.jsonl";

/// A question of common knowledge.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuizQuestion {
    /// Its name, unique within the quiz: a subject, a dot, a word.
    pub id: String,
    /// The question.
    pub question: String,
    /// Accepted answers, the first one preferred; at least one.
    pub answers: Vec<String>,
}

/// The built-in general-knowledge quiz: what a run costs the model shows in how much of it is left.
pub fn quiz() -> Result<Vec<QuizQuestion>> {
    parse(include_str!("../../assets/probes/quiz.jsonl"))
}

fn parse(text: &str) -> Result<Vec<QuizQuestion>> {
    let parse = |(i, line): (usize, &str)| {
        serde_json::from_str(line).map_err(|e| Error::Line {
            path: Path::new(FILE).to_path_buf(),
            line: i + 1,
            what: e.to_string(),
        })
    };
    text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()).map(parse).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::corpus::{contains_gold, normalised};
    use crate::lab::{abstains, degeneration};

    #[test]
    fn there_are_a_hundred_questions_each_once() {
        let quiz = quiz().unwrap();
        assert_eq!(quiz.len(), 100);
        let ids: HashSet<&str> = quiz.iter().map(|q| q.id.as_str()).collect();
        let questions: HashSet<String> = quiz.iter().map(|q| normalised(&q.question)).collect();
        assert_eq!((ids.len(), questions.len()), (100, 100));
        let subjects: HashSet<&str> =
            quiz.iter().filter_map(|q| q.id.split_once('.')).map(|id| id.0).collect();
        assert!(subjects.len() >= 8, "{subjects:?}");
    }

    #[test]
    fn every_question_has_short_answers_and_gives_none_away() {
        for QuizQuestion { id, question, answers } in quiz().unwrap() {
            assert!(question.ends_with('?') && question.trim() == question, "{id}: {question}");
            assert!(!answers.is_empty(), "{id}");
            for answer in &answers {
                let words = normalised(answer).split(' ').filter(|word| !word.is_empty()).count();
                assert!((1..=4).contains(&words), "{id}: {answer:?} has {words} words");
                assert!(!abstains(answer) && degeneration(answer).is_none(), "{id}: {answer}");
            }
            assert!(!contains_gold(&question, &answers), "{id} gives its answer away");
            let plain: HashSet<String> = answers.iter().map(|answer| normalised(answer)).collect();
            assert_eq!(plain.len(), answers.len(), "{id}: two answers are the same to the score");
        }
    }

    #[test]
    fn a_wrong_line_is_named() {
        let line = r#"{"id":"sky.day","question":"What gives daylight?","answers":["the sun"]}"#;
        assert_eq!(parse(&format!("{line}\n\n")).unwrap().len(), 1);
        let error = parse(&format!("{line}\n{{\"id\":\"sky.night\"}}")).unwrap_err().to_string();
        assert!(error.starts_with("assets/probes/quiz.jsonl:2: missing field `question`"), "{error}");
    }
}
