//! Are the rules for words, forms and repetitions those that are stated?

use super::*;

fn accepted(answers: &[&str]) -> Vec<String> {
    answers.iter().map(|&answer| answer.to_owned()).collect()
}

#[test]
fn the_best_of_the_accepted_answers_counts() {
    let gold = accepted(&["Cinder Bay", "the bay of cinders"]);
    assert!(exact_match("the Cinder Bay!", &gold) && !exact_match("in Cinder Bay", &gold));
    assert!((f1("in Cinder Bay", &gold) - 0.8).abs() < 1e-12);
    assert!((f1("bay bay of bay", &gold) - 4.0 / 7.0).abs() < 1e-12, "a word counts as often as it is there");
    assert!(!exact_match("", &[]) && f1("anything", &[]) == 0.0 && f1("the", &accepted(&["a"])) == 0.0);
}

#[test]
fn who_does_not_know_abstains() {
    for answer in [
        "I don't know.",
        "I don’t really know",
        "I'm sorry, but I do not have any information about her shoe size.",
        "I'm sorry. I cannot answer that.",
        "Sorry!\nThe text does not explicitly mention it.",
        "The passage doesn't say how many brothers she has.",
        "Based on the text above, it is not mentioned.",
        "The name of the boat is not stated in the text.",
        "The number of sheep is unknown.",
        "It cannot be determined from the context.",
        "There's no information about the second book.",
        "Nobody knows.",
        "Unknown",
        "Not mentioned.",
        "I am not sure, perhaps Cinder Bay.",
        "Unfortunately, I can't find it.",
        "There isn't enough information to tell.",
    ] {
        assert!(abstains(answer), "{answer}");
    }
}

#[test]
fn who_answers_does_not_abstain() {
    for answer in [
        "",
        "Cinder Bay",
        "Keziah Quandt was born in Cinder Bay. I don't know when.",
        "The Unknown Sailor",
        "She was not given a boat.",
        "He is not known for his songs but for his pies.",
        "It does not float.",
        "The keeper does not say goodbye.",
        "I do not like fog.",
        "No fewer than seven answers.",
        "Sorrel Cove is said to be foggy.",
        "She knows that nobody lives there.",
    ] {
        assert!(!abstains(answer), "{answer}");
    }
}

#[test]
fn no_answer_of_the_sample_corpus_abstains_or_is_degenerate() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("sample_corpus");
    let corpus = crate::corpus::Corpus::open(&folder).unwrap();
    let answers: Vec<&String> =
        corpus.facts.iter().flat_map(|fact| fact.answers.iter().chain([&fact.statement])).collect();
    assert!(answers.len() > 400);
    for answer in answers.into_iter().filter(|answer| !answer.is_empty()) {
        assert!(!abstains(answer) && degeneration(answer).is_none(), "{answer}");
    }
}

#[test]
fn every_form_is_found_in_a_sentence_made_of_it() {
    for form in FORMS.iter().chain(&SHORT_FORMS) {
        let n_choices = form.split_whitespace().map(|slot| slot.split('|').count()).max().unwrap();
        for i in 0..n_choices {
            let choice = |slot: &'static str| slot.split('|').nth(i).or_else(|| slot.split('|').next());
            let words: Vec<&str> = form.split_whitespace().filter_map(choice).collect();
            let sentence = words.join(" ").replace(['^', '$'], "");
            assert!(abstains(&sentence), "{sentence}");
        }
    }
}

#[test]
fn four_words_three_times_are_a_repetition() {
    use Degeneration::Repeats;
    assert_eq!(
        degeneration("the old keeper sleeps. The old keeper sleeps, the OLD keeper sleeps"),
        Some(Repeats)
    );
    assert_eq!(degeneration("the old keeper sleeps. The old keeper sleeps."), None);
    // Overlaps count: six times the same word is three times the same four.
    assert_eq!(degeneration("ha ha ha ha ha ha"), Some(Repeats));
    assert_eq!(degeneration("ha ha ha ha ha"), None);
    assert_eq!(degeneration("! ! ! ! ! !"), Some(Repeats));
    // Three words that come back are not four.
    assert_eq!(degeneration("so it goes on so it goes up so it goes down so it goes out"), None);
}

#[test]
fn what_has_no_words_is_told_from_what_has_strange_ones() {
    use Degeneration::{Empty, NonWords};
    assert_eq!((degeneration(""), degeneration(" \n\t\u{a0}")), (Some(Empty), Some(Empty)));
    for answer in ["...", "#", "xkcdqrt bnm", "tr#ee b==c is", "x7q2 9k3z", "\u{fffd} \u{fffd}b\u{fffd}c ok"]
    {
        assert_eq!(degeneration(answer), Some(NonWords), "{answer}");
    }
    for answer in [
        "1961",
        "BBC",
        "Mr. Lynch",
        "pH",
        "H2O",
        "the 1960s",
        "12:30 pm - 5 km",
        "keeper@harrow-light.org",
        "don't",
        "\"Old Cinders\" (1881)",
        "日本語 Привет",
        "Łódź",
        "xkcdqrt bay",
        "rhythm",
        "$12.50",
    ] {
        assert_eq!(degeneration(answer), None, "{answer}");
    }
}
