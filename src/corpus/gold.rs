//! When does an answer count as right?

/// Tokens of an answer to the corpus that is scored at most, the same for every contender and while a run learns: as many
/// as where answers are shown, so that what is scored is what is seen.
pub const ANSWER_TOKENS: usize = 64;

/// SQuAD's normalisation (Rajpurkar et al. 2016, official `evaluate-v1.1.py`): lower case, no ASCII
/// punctuation, no articles, single spaces.
///
/// An article is found as that script's `\b(a|an|the)\b` finds it, so also in “the” and l’a.
pub fn normalised(text: &str) -> String {
    let plain: String = text.to_lowercase().chars().filter(|c| !c.is_ascii_punctuation()).collect();
    let without = without_articles(&plain);
    without.split(is_space).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

/// Every run of letters and digits that is an article becomes a space.
fn without_articles(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let n_word = rest.find(|c: char| !c.is_alphanumeric()).unwrap_or(rest.len());
        let (word, after) = rest.split_at(n_word);
        kept.push_str(if matches!(word, "a" | "an" | "the") { " " } else { word });
        let n_between = after.find(char::is_alphanumeric).unwrap_or(after.len());
        kept.push_str(&after[..n_between]);
        rest = &after[n_between..];
    }
    kept
}

/// White space as Python's `str.split` has it: Unicode's, and the four separators of ASCII.
fn is_space(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\u{1c}'..='\u{1f}')
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
        // Only ASCII punctuation goes; the article between the quotation marks goes too.
        assert_eq!(
            normalised("“The” Light—an old\u{a0}one\u{1f}of\u{3000}l’a bas"),
            "“ ” light— old one of l’ bas"
        );
        assert_eq!(normalised("Anthea, A., the-"), "anthea");
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
