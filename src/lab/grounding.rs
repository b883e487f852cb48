//! Does what an answer claims stand in the passages it was given?

use std::collections::BTreeSet;

use crate::rag::terms;

/// Whether every telling word of an answer that is not the question's stands in `read`, the passages as they were put
/// before the model. Words are compared as the search does it: lower case, accents off, stemmed, without those that say
/// nothing ("the", "of").
///
/// `None` for an answer that claims nothing: it has no such word. That a word stands there does not make the answer right:
/// it may be the wrong one of the passage.
pub fn is_grounded(answer: &str, question: &str, read: &str) -> Option<bool> {
    let asked: BTreeSet<String> = terms(question).into_iter().collect();
    let claimed: Vec<String> = terms(answer).into_iter().filter(|word| !asked.contains(word)).collect();
    if claimed.is_empty() {
        return None;
    }
    let known: BTreeSet<String> = terms(read).into_iter().collect();
    Some(claimed.iter().all(|word| known.contains(word)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const READ: &str = "Tamsin Drury has kept the Harrow Light since 1961. She was born in Cinder Bay.";

    #[test]
    fn what_the_passage_says_is_grounded_in_whatever_form() {
        let asked = "Who keeps the Harrow Light?";
        assert_eq!(is_grounded("Tamsin Drury keeps the Harrow Light.", asked, READ), Some(true));
        assert_eq!(is_grounded("Keeping it since 1961: TAMSIN DRURY", asked, READ), Some(true));
        assert_eq!(is_grounded("Tamsin Pellow keeps it.", asked, READ), Some(false));
    }

    #[test]
    fn an_answer_that_only_repeats_the_question_claims_nothing() {
        assert_eq!(is_grounded("The Harrow Light.", "Who keeps the Harrow Light?", READ), None);
        assert_eq!(is_grounded(" ", "Who?", READ), None);
        assert_eq!(is_grounded("Ada", "Who?", ""), Some(false));
    }
}
