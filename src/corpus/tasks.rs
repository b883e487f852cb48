//! Which tasks come with the program, for tuning to win at?
//!
//! Facts are one thing, a manner or a narrow judgement another. `style` teaches an invented voice, `sentiment` whether a
//! film review is favourable. Their texts were written for this program; every sixth is held out.

use serde::Deserialize;

use super::examples::{Example, Examples, Role, Turn};
use super::gold::contains_gold;
use crate::error::{Error, Result};

const SENTIMENT: &str = include_str!("../../assets/recipes/sentiment.jsonl");
const STYLE: &str = include_str!("../../assets/recipes/style.jsonl");

/// Of so many examples one is held out.
const HELD_OUT: usize = 6;

/// Features of the voice that make an answer count as spoken in it; see [`voice`].
pub const IN_VOICE: usize = 4;

/// When is an answer right?
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judge {
    /// When it contains one of these.
    Contains(Vec<String>),
    /// When it has at least [`IN_VOICE`] of the five features of the voice.
    Voice,
}

impl Judge {
    /// Whether it is.
    pub fn accepts(&self, answer: &str) -> bool {
        match self {
            Self::Contains(gold) => contains_gold(answer, gold),
            Self::Voice => voice(answer) >= IN_VOICE,
        }
    }

    /// Tokens that an answer to an example of a task needs at most for its verdict.
    pub fn answer_tokens(&self) -> usize {
        match self {
            Self::Contains(_) => 16,
            Self::Voice => 96,
        }
    }
}

#[derive(Deserialize)]
struct Review {
    text: String,
    label: String,
}

#[derive(Deserialize)]
struct Said {
    question: String,
    answer: String,
}

/// The `sentiment` recipe: a review and the word for it.
pub fn sentiment_examples() -> Result<Examples> {
    let example = |review: Review| {
        let ask = "Is this film review positive or negative? Answer with one word.";
        let mut label = review.label;
        if let Some(first) = label.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        (format!("{ask}\n\n{}", review.text), label)
    };
    examples("assets/recipes/sentiment.jsonl", SENTIMENT, example)
}

/// The `style` recipe: a plain question and its answer in the voice.
pub fn style_examples() -> Result<Examples> {
    examples("assets/recipes/style.jsonl", STYLE, |said: Said| (said.question, said.answer))
}

fn examples<T: for<'a> Deserialize<'a>>(
    path: &str,
    lines: &str,
    turns: impl Fn(T) -> (String, String),
) -> Result<Examples> {
    let mut examples = Examples::default();
    for (i, line) in lines.lines().enumerate() {
        let parsed = serde_json::from_str(line);
        let parsed =
            parsed.map_err(|e| Error::Line { path: path.into(), line: i + 1, what: e.to_string() })?;
        let (asked, completion) = turns(parsed);
        let example = Example {
            entity: format!("{path}:{}", i + 1),
            prompt: vec![Turn { role: Role::User, text: asked }],
            completion,
        };
        let to = if i % HELD_OUT == 0 { &mut examples.held_out } else { &mut examples.train };
        to.push(example);
    }
    Ok(examples)
}

/// How many of the five features of the lighthouse keeper's log an answer has: it begins with a bell and a wind; the
/// speaker is "this keeper" and never "I" or "we"; a word of the sea or the light stands in it; no contraction,
/// question mark or exclamation mark; it ends with "So entered."
pub fn voice(answer: &str) -> usize {
    let answer = answer.trim();
    let lower = answer.to_lowercase();
    let words: Vec<&str> = lower.split(|c: char| !c.is_alphanumeric() && c != '\'').collect();
    let any = |wanted: &[&str]| words.iter().any(|word| wanted.contains(&word.trim_end_matches('s')));
    let opening = || {
        let (bell, rest) = answer.split_once(" bell, wind ")?;
        let (wind, _) = rest.split_once('.')?;
        Some(BELLS.contains(&bell) && wind.split('-').all(|part| WINDS.contains(&part)))
    };
    let said_i = words.iter().any(|word| SELF.contains(word));
    [
        opening().unwrap_or(false),
        lower.contains("this keeper") && !said_i,
        any(&[
            "lamp", "len", "tide", "gull", "fog", "rock", "oil", "mast", "swell", "anchor", "rope", "harbour",
        ]),
        !answer.is_empty() && !answer.contains(['\'', '’', '?', '!']),
        answer.ends_with("So entered."),
    ]
    .into_iter()
    .filter(|&has| has)
    .count()
}

const BELLS: [&str; 8] = ["First", "Second", "Third", "Fourth", "Fifth", "Sixth", "Seventh", "Eighth"];
const WINDS: [&str; 4] = ["north", "east", "south", "west"];
const SELF: [&str; 8] = ["i", "me", "my", "mine", "myself", "we", "our", "us"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_of_the_style_has_all_features_of_the_voice_and_plain_speech_has_few() {
        let all = style_examples().unwrap();
        assert_eq!((all.train.len(), all.held_out.len()), (200, 40));
        for example in all.train.iter().chain(&all.held_out) {
            assert_eq!(voice(&example.completion), 5, "{}", example.completion);
            assert!(voice(&example.prompt[0].text) < IN_VOICE);
        }
        assert_eq!(voice(""), 0);
        assert_eq!(voice("You should oil the hinge. It doesn't cost much!"), 1);
        assert!(!Judge::Voice.accepts("Third bell, wind west. I like fog. So entered"));
    }

    #[test]
    fn reviews_are_balanced_in_both_parts() {
        let all = sentiment_examples().unwrap();
        assert_eq!((all.train.len(), all.held_out.len()), (400, 80));
        for part in [&all.train, &all.held_out] {
            let n = part.iter().filter(|e| e.completion == "Positive").count();
            let share = n as f64 / part.len() as f64;
            assert!((0.4..0.6).contains(&share), "{n} of {}", part.len());
            assert!(part.iter().all(|e| e.completion == "Positive" || e.completion == "Negative"));
        }
        assert!(Judge::Contains(vec!["Positive".into()]).accepts("positive."));
    }

    #[test]
    fn no_text_stands_in_both_parts() {
        for all in [sentiment_examples().unwrap(), style_examples().unwrap()] {
            let trained: Vec<_> = all.train.iter().map(|e| &e.prompt).collect();
            assert!(all.held_out.iter().all(|e| !trained.contains(&&e.prompt)));
        }
    }
}
