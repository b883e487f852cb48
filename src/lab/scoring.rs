//! What is an answer worth?
//!
//! Besides "contains an accepted answer" ([`crate::corpus::contains_gold`]): SQuAD's exact match and
//! F1, and whether the answer abstains or has fallen apart.

use std::collections::HashMap;

use serde::Serialize;

use crate::corpus::normalised;

/// Whether an answer equals one of the accepted ones after normalisation (Rajpurkar et al. 2016,
/// official `evaluate-v1.1.py`). `false` where none is accepted.
pub fn exact_match(answer: &str, accepted: &[String]) -> bool {
    let answer = normalised(answer);
    accepted.iter().any(|gold| normalised(gold) == answer)
}

/// The harmonic mean of precision and recall of an answer's words, from 0 to 1, against the accepted
/// answer that fits best; normalised and counted as SQuAD's `evaluate-v1.1.py` does. 0 where none is
/// accepted, and where either has no word left.
pub fn f1(answer: &str, accepted: &[String]) -> f64 {
    let answer = normalised(answer);
    accepted.iter().map(|gold| overlap(&answer, &normalised(gold))).fold(0.0, f64::max)
}

/// F1 of two normalised texts.
fn overlap(answer: &str, gold: &str) -> f64 {
    let mut left: HashMap<&str, usize> = HashMap::new();
    for word in gold.split_terminator(' ') {
        *left.entry(word).or_default() += 1;
    }
    let mut n_common = 0;
    for word in answer.split_terminator(' ') {
        if let Some(n) = left.get_mut(word).filter(|n| **n > 0) {
            *n -= 1;
            n_common += 1;
        }
    }
    if n_common == 0 {
        return 0.0;
    }
    let precision = f64::from(n_common) / answer.split_terminator(' ').count() as f64;
    let recall = f64::from(n_common) / gold.split_terminator(' ').count() as f64;
    2.0 * precision * recall / (precision + recall)
}

/// The forms of not knowing. Words that follow each other in a sentence; `|` parts alternatives, `^`
/// and `$` are the sentence's ends. Contractions are written out and [`FILLERS`] left out before.
const FORMS: [&str; 18] = [
    "i|we do not know",
    "i|we do not have information|enough|sufficient|access|answer|details|knowledge",
    "i am not sure|certain|aware|familiar|able",
    "i am unable",
    "i|we have no idea|information|knowledge|record|answer",
    "i|we can|could not answer|say|tell|determine|find|provide|help|assist|give|see",
    "there is|are no information|mention|record|records|answer|indication|details|data",
    "not enough|sufficient information|context|data|details",
    "no|insufficient information",
    "nobody|noone knows",
    "no one knows",
    "text|passage|context|document|article|story|paragraph|information do|does|did not \
     say|mention|state|specify|indicate|tell|provide|contain|give|include|answer|reveal",
    "it does|did not say|mention|state|specify|indicate|tell",
    "is|are|was|were not mentioned|stated|specified|provided|given|disclosed|recorded|said|available \
     in|within|by|here|$",
    "is|are|was|were|remains not known|clear|certain $",
    "is|are|was|were|remains unknown|unclear|unanswerable|undisclosed|unspecified",
    "can|could not be determined|answered|known|found|said|told",
    "^ unknown|unanswerable|unclear|unspecified $",
];
/// As [`FORMS`], where the whole sentence is the form.
const SHORT_FORMS: [&str; 2] =
    ["^ not known|mentioned|stated|specified|provided|given|available|sure $", "^ no answer|idea|mention $"];
/// Words that change nothing about a form.
const FILLERS: [&str; 13] = [
    "really",
    "actually",
    "exactly",
    "explicitly",
    "directly",
    "clearly",
    "specifically",
    "currently",
    "any",
    "also",
    "just",
    "unfortunately",
    "yet",
];
/// How an apology begins; the sentence after it is looked at too.
const APOLOGIES: [&str; 2] = ["^ sorry|apologies", "^ i am sorry|afraid"];

/// Whether an answer says that it does not know, or that the text does not say.
///
/// Its first sentence decides, or after an apology the next: "I'm sorry. I don't know" abstains, "In
/// Cinder Bay. I don't know when" answers. What follows a form does not matter: "I don't know, perhaps
/// Cinder Bay" abstains. The forms are English.
pub fn abstains(answer: &str) -> bool {
    for sentence in answer.split(['.', '!', '?', ';', '\n']).filter(|text| !text.trim().is_empty()) {
        let words = plain_words(sentence);
        if FORMS.iter().chain(&SHORT_FORMS).any(|form| has_form(&words, form)) {
            return true;
        }
        if !APOLOGIES.iter().any(|form| has_form(&words, form)) {
            return false;
        }
    }
    false
}

/// A sentence's words between `^` and `$`, normalised, contractions written out, without fillers.
fn plain_words(sentence: &str) -> Vec<String> {
    let plain = normalised(&sentence.replace('’', "'"));
    let mut words = vec!["^".to_owned()];
    for word in plain.split(' ').filter(|word| !FILLERS.contains(word)) {
        match word {
            "im" => words.extend(["i", "am"].map(str::to_owned)),
            "theres" => words.extend(["there", "is"].map(str::to_owned)),
            "cant" | "cannot" => words.extend(["can", "not"].map(str::to_owned)),
            "dont" | "doesnt" | "didnt" | "isnt" | "arent" | "wasnt" | "werent" | "couldnt" => {
                words.extend([word[..word.len() - 2].to_owned(), "not".to_owned()]);
            }
            _ => words.push(word.to_owned()),
        }
    }
    words.push("$".to_owned());
    words
}

fn has_form(words: &[String], form: &str) -> bool {
    let slots: Vec<&str> = form.split_whitespace().collect();
    let fits = |(slot, word): (&&str, &String)| slot.split('|').any(|choice| choice == word);
    words.windows(slots.len()).any(|window| slots.iter().zip(window).all(fits))
}

/// How an answer has fallen apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Degeneration {
    /// White space only.
    Empty,
    /// The same four words in a row at least three times, overlaps counted.
    Repeats,
    /// Over half of the words are none; see [`degeneration`].
    NonWords,
    /// Whole, but of another kind than was asked for; see [`super::is_off_type`].
    OffType,
}

/// Words of a run that must not come back, and how often it may not.
const N_GRAM: usize = 4;
const N_REPEATS: usize = 3;
/// Signs that stand within words and numbers in ordinary writing.
const JOINERS: &str = "'’‑–—-.,:/&%@_";
/// Capitals up to this number may be an abbreviation.
const N_CAPITALS: usize = 5;

/// Whether an answer is no answer but the sign of a broken model; the first that holds of
/// [`Degeneration`]'s cases.
///
/// A word is what stands between white space, less the signs around it. It is none if
/// - nothing is left of it,
/// - it has within it the replacement character, a control character or an ASCII sign other than
///   `' - . , : / & % @ _` (`ap#ple`, `x==y`),
/// - it goes from letters to digits or back more than twice (`x7q2`), or
/// - it has three or more letters, all of them ASCII consonants, and is no abbreviation in capitals
///   (`BBC`). y is a vowel. Words with other letters are not judged by this.
pub fn degeneration(answer: &str) -> Option<Degeneration> {
    if answer.trim().is_empty() {
        return Some(Degeneration::Empty);
    }
    let words: Vec<&str> = answer.split_whitespace().map(bare).collect();
    if repeats(answer) {
        return Some(Degeneration::Repeats);
    }
    let n_wrong = words.iter().filter(|word| is_no_word(word)).count();
    (2 * n_wrong > words.len()).then_some(Degeneration::NonWords)
}

/// A word without the signs around it.
fn bare(word: &str) -> &str {
    word.trim_matches(|c: char| !c.is_alphanumeric())
}

/// Without regard to case and to signs around words; a word of signs only stays as it is.
fn repeats(answer: &str) -> bool {
    let lower = answer.to_lowercase();
    let plain = |word| if bare(word).is_empty() { word } else { bare(word) };
    let words: Vec<&str> = lower.split_whitespace().map(plain).collect();
    let mut seen: HashMap<&[&str], usize> = HashMap::new();
    words.windows(N_GRAM).any(|run| {
        let n = seen.entry(run).or_default();
        *n += 1;
        *n >= N_REPEATS
    })
}

fn is_no_word(word: &str) -> bool {
    let kinds: Vec<bool> = word.chars().filter(|c| c.is_alphanumeric()).map(char::is_numeric).collect();
    let n_changes = kinds.windows(2).filter(|pair| pair[0] != pair[1]).count();
    let is_sign = |c: char| c.is_ascii_punctuation() || c.is_control() || c == char::REPLACEMENT_CHARACTER;
    let is_strange = |c: char| is_sign(c) && !JOINERS.contains(c);
    if kinds.is_empty() || n_changes > 2 || word.contains(is_strange) {
        return true;
    }
    let is_consonant = |c: char| c.is_ascii_alphabetic() && !"aeiouyAEIOUY".contains(c);
    let consonants_only = word.chars().all(|c| is_consonant(c) || JOINERS.contains(c));
    let is_abbreviation = kinds.len() <= N_CAPITALS && !word.contains(char::is_lowercase);
    consonants_only && kinds.len() >= 3 && !is_abbreviation
}

#[cfg(test)]
mod tests;
