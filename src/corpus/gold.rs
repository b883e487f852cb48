//! When does an answer count as right?

/// SQuAD's normalisation (Rajpurkar et al. 2016, official `evaluate-v1.1.py`): lower case, no
/// punctuation, no articles, single spaces.
pub fn normalised(text: &str) -> String {
    let plain: String = text.to_lowercase().chars().filter(|c| !c.is_ascii_punctuation()).collect();
    let words = plain.split_whitespace().filter(|w| !matches!(*w, "a" | "an" | "the"));
    words.collect::<Vec<_>>().join(" ")
}

/// Whether an answer contains one of the accepted ones, as whole words, after normalisation.
pub fn contains_gold(answer: &str, accepted: &[String]) -> bool {
    let answer = format!(" {} ", normalised(answer));
    accepted.iter().map(|gold| normalised(gold)).any(|g| !g.is_empty() && answer.contains(&format!(" {g} ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normalisation_is_squad_s() {
        assert_eq!(normalised("  The Harrow-Light,  a  Tower! "), "harrowlight tower");
    }

    #[test]
    fn gold_must_stand_as_whole_words() {
        let gold = |text: &str| vec![text.to_owned()];
        assert!(contains_gold("It was in Cinder Bay.", &gold("Cinder Bay")));
        assert!(!contains_gold("It was 19610", &gold("1961")));
        assert!(!contains_gold("anything", &gold("the")));
        assert!(!contains_gold("", &gold("x")));
    }
}
