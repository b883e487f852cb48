//! Where are a text's sentences?

use std::ops::Range;

use unicode_segmentation::UnicodeSegmentation;

/// The bytes of each sentence (Unicode Standard Annex 29), white space around it left out. A line that goes on
/// with a letter is the same sentence: prose is often broken at a fixed width.
pub fn sentences(text: &str) -> Vec<Range<usize>> {
    let flowing = unwrapped(text);
    let pieces = flowing.split_sentence_bound_indices().filter(|(_, piece)| !piece.trim().is_empty());
    pieces
        .map(|(start, piece)| {
            let start = start + piece.len() - piece.trim_start().len();
            start..start + piece.trim().len()
        })
        .collect()
}

/// The text with line ends inside prose as spaces; as many bytes as before.
fn unwrapped(text: &str) -> String {
    let mut flowing = String::with_capacity(text.len());
    let mut above = ' ';
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        let goes_on = above != '\n' && rest.peek().is_some_and(|next| next.is_alphabetic());
        flowing.push(if c == '\n' && goes_on { ' ' } else { c });
        above = c;
    }
    flowing
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(text: &str) -> Vec<&str> {
        sentences(text).into_iter().map(|range| &text[range]).collect()
    }

    #[test]
    fn sentences_end_at_their_marks_and_at_paragraphs() {
        assert_eq!(cut("One is here. Two is there!\n\nThree"), ["One is here.", "Two is there!", "Three"]);
        assert_eq!(cut("- one\n- two\n"), ["- one", "- two"]);
        assert_eq!(cut(" \n\n"), [""; 0]);
    }

    #[test]
    fn a_broken_line_ends_no_sentence() {
        assert_eq!(cut("She keeps\nthe lamp. It\nburns."), ["She keeps\nthe lamp.", "It\nburns."]);
    }

    #[test]
    fn places_are_those_of_the_text() {
        for text in ["Ö ist hier.\nÄ auch. 🦀 Ja?", "a\r\nb. C", "\n\nx\n"] {
            for range in sentences(text) {
                assert_eq!(text[range.clone()].trim(), &text[range]);
            }
        }
    }
}
