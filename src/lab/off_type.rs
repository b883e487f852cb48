//! Is an answer of another kind than what was asked for?

use super::abstains;
use crate::corpus::contains_gold;

/// English words for numbers, as answers use them.
const NUMBERS: [&str; 34] = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
    "twenty",
    "thirty",
    "forty",
    "fifty",
    "sixty",
    "seventy",
    "eighty",
    "ninety",
    "hundred",
    "thousand",
    "million",
    "once",
    "twice",
    "dozen",
];

/// Whether a wrong answer is not even of the right kind: a number, date or amount was asked for and none is in it, or
/// words were asked for and there are numbers alone.
///
/// What was asked for is seen from the accepted answers: it is a number if at least half of the words of each are digits or
/// words for numbers ("14 March 1961", "sixty-two years", not "12 Harbour Street"). An answer that says that it does not
/// know, or none that is accepted, is of no wrong kind.
pub fn is_off_type(answer: &str, accepted: &[String]) -> bool {
    if accepted.is_empty() || abstains(answer) || contains_gold(answer, accepted) {
        return false;
    }
    let (n_numbers, n_words) = counted(answer);
    if accepted.iter().all(|gold| is_number(gold)) {
        return n_numbers == 0 && n_words > 0;
    }
    n_numbers > 0 && n_numbers == n_words && !accepted.iter().any(|gold| counted(gold).0 > 0)
}

fn is_number(text: &str) -> bool {
    let (n_numbers, n_words) = counted(text);
    n_numbers > 0 && 2 * n_numbers >= n_words
}

/// Words that are numbers, and all words.
fn counted(text: &str) -> (usize, usize) {
    let lower = text.to_lowercase();
    let words = lower.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    let is_number = |word: &str| word.contains(char::is_numeric) || NUMBERS.contains(&word);
    words.fold((0, 0), |(numbers, all), word| (numbers + usize::from(is_number(word)), all + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn off(answer: &str, gold: &str) -> bool {
        is_off_type(answer, &[gold.to_owned()])
    }

    #[test]
    fn a_number_was_asked_for_and_none_came() {
        assert!(off("Cinder Bay", "1961") && off("in the spring", "14 March 1961"));
        assert!(off("many years", "sixty-two years"));
        assert!(!off("in 1962", "1961") && !off("about forty", "sixty-two years"));
    }

    #[test]
    fn words_were_asked_for_and_a_number_came() {
        assert!(off("1961.", "Cinder Bay") && off("12, 13", "Keziah Quandt"));
        assert!(!off("Tamsin Pellow, in 1961", "Cinder Bay") && !off("14", "12 Harbour Street"));
        assert!(!off("Harbour Street", "12 Harbour Street"));
    }

    #[test]
    fn right_unknown_and_unasked_answers_are_of_no_wrong_kind() {
        assert!(!off("It was 1961", "1961") && !off("I don't know.", "1961"));
        assert!(!is_off_type("Cinder Bay", &[]) && !off("", "1961"));
    }
}
