//! How is a line of text edited? By what the reader sees as characters, not by bytes.

use unicode_segmentation::UnicodeSegmentation;

/// Longest line kept, in bytes: a pasted book would only be cut by the prompt's budget.
const LONGEST: usize = 16_000;
/// Lines remembered.
const REMEMBERED: usize = 200;

/// One line of text with a cursor, and the lines sent before.
#[derive(Debug, Clone, Default)]
pub struct Line {
    text: String,
    /// In bytes, always between two graphemes.
    cursor: usize,
    sent: Vec<String>,
    /// Where in `sent` the reader looks, counted from the newest; 0 is the line being typed.
    back: usize,
    /// What was typed before looking back.
    draft: String,
}

impl Line {
    /// The text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The text before and after the cursor.
    pub fn around_cursor(&self) -> (&str, &str) {
        self.text.split_at(self.cursor)
    }

    /// Inserts text at the cursor: line breaks and tabs become blanks, control characters go.
    pub fn insert(&mut self, text: &str) {
        let text = text.replace("\r\n", " ").replace(['\n', '\r', '\t'], " ");
        let mut clean: String = text.chars().filter(|c| !c.is_control()).collect();
        let room = LONGEST.saturating_sub(self.text.len());
        if clean.len() > room {
            clean.truncate(floor_boundary(&clean, room));
        }
        self.text.insert_str(self.cursor, &clean);
        // A joining character may have merged with its neighbours.
        self.cursor = ceil_grapheme(&self.text, self.cursor + clean.len());
    }

    /// Moves one grapheme to the left.
    pub fn left(&mut self) {
        self.cursor = before(&self.text, self.cursor);
    }

    /// Moves one grapheme to the right.
    pub fn right(&mut self) {
        self.cursor = after(&self.text, self.cursor);
    }

    /// Moves to the start of the word before the cursor.
    pub fn word_left(&mut self) {
        self.cursor = word_start(&self.text[..self.cursor]);
    }

    /// Moves behind the word after the cursor.
    pub fn word_right(&mut self) {
        let rest = &self.text[self.cursor..];
        let word = rest.find(|c: char| !c.is_whitespace()).unwrap_or(rest.len());
        let end = rest[word..].find(char::is_whitespace).map_or(rest.len(), |i| word + i);
        self.cursor += end;
    }

    /// Moves to the start.
    pub fn home(&mut self) {
        self.cursor = 0;
    }

    /// Moves to the end.
    pub fn end(&mut self) {
        self.cursor = self.text.len();
    }

    /// Deletes the grapheme before the cursor.
    pub fn backspace(&mut self) {
        let from = before(&self.text, self.cursor);
        self.delete(from, self.cursor);
    }

    /// Deletes the grapheme after the cursor.
    pub fn delete_forward(&mut self) {
        self.delete(self.cursor, after(&self.text, self.cursor));
    }

    /// Deletes the word before the cursor.
    pub fn delete_word(&mut self) {
        self.delete(word_start(&self.text[..self.cursor]), self.cursor);
    }

    /// Deletes everything before the cursor.
    pub fn delete_to_start(&mut self) {
        self.delete(0, self.cursor);
    }

    /// Deletes everything after the cursor.
    pub fn delete_to_end(&mut self) {
        self.text.truncate(self.cursor);
    }

    fn delete(&mut self, from: usize, to: usize) {
        self.text.replace_range(from..to, "");
        self.cursor = ceil_grapheme(&self.text, from);
    }

    /// Brings back the line sent before the one shown.
    pub fn older(&mut self) {
        if self.back < self.sent.len() {
            if self.back == 0 {
                self.draft = std::mem::take(&mut self.text);
            }
            self.back += 1;
            self.recall();
        }
    }

    /// Goes on to the next newer line, at last to what was being typed.
    pub fn newer(&mut self) {
        if self.back > 0 {
            self.back -= 1;
            self.recall();
        }
    }

    fn recall(&mut self) {
        self.text = match self.back {
            0 => std::mem::take(&mut self.draft),
            back => self.sent[self.sent.len() - back].clone(),
        };
        self.end();
    }

    /// Takes the line, trimmed, remembers it and empties it; `None` if there is nothing in it.
    pub fn send(&mut self) -> Option<String> {
        let line = self.text.trim().to_owned();
        if line.is_empty() {
            return None;
        }
        self.remember(&line);
        self.text.clear();
        self.cursor = 0;
        Some(line)
    }

    /// Remembers a line that was sent some other way.
    pub fn remember(&mut self, line: &str) {
        self.back = 0;
        self.draft.clear();
        if self.sent.last().map(String::as_str) != Some(line) {
            self.sent.push(line.to_owned());
        }
        if self.sent.len() > REMEMBERED {
            self.sent.remove(0);
        }
    }
}

fn floor_boundary(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0)
}

fn before(text: &str, at: usize) -> usize {
    text[..at].grapheme_indices(true).next_back().map_or(0, |(i, _)| i)
}

fn after(text: &str, at: usize) -> usize {
    text[at..].graphemes(true).next().map_or(at, |g| at + g.len())
}

fn ceil_grapheme(text: &str, at: usize) -> usize {
    let starts = text.grapheme_indices(true).map(|(i, _)| i);
    starts.chain([text.len()]).find(|i| *i >= at).unwrap_or(text.len())
}

fn word_start(text: &str) -> usize {
    let end = text.trim_end().len();
    let blank = |(i, c): (usize, char)| c.is_whitespace().then_some(i + c.len_utf8());
    text[..end].char_indices().rev().find_map(blank).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(text: &str) -> Line {
        let mut line = Line::default();
        line.insert(text);
        line
    }

    #[test]
    fn the_cursor_moves_by_what_one_sees() {
        // a family emoji, an e with a combining accent, a wide character
        let mut line = typed("a👨‍👩‍👧e\u{301}漢");
        line.left();
        line.left();
        line.left();
        assert_eq!(line.around_cursor(), ("a", "👨‍👩‍👧e\u{301}漢"));
        line.delete_forward();
        assert_eq!(line.text(), "ae\u{301}漢");
        line.right();
        line.backspace();
        assert_eq!(line.text(), "a漢");
        line.right();
        line.right();
        line.right();
        assert_eq!(line.around_cursor(), ("a漢", ""));
    }

    #[test]
    fn a_combining_mark_joins_the_letter_before_the_cursor() {
        let mut line = typed("ex");
        line.left();
        line.insert("\u{301}");
        assert_eq!(line.around_cursor(), ("e\u{301}", "x"));
        line.backspace();
        assert_eq!(line.text(), "x");
    }

    #[test]
    fn words_go_one_at_a_time() {
        let mut line = typed("who keeps  the light ");
        line.delete_word();
        assert_eq!(line.text(), "who keeps  the ");
        line.word_left();
        line.word_left();
        assert_eq!(line.around_cursor(), ("who ", "keeps  the "));
        line.word_right();
        assert_eq!(line.around_cursor().0, "who keeps");
        line.delete_to_start();
        line.delete_to_end();
        assert_eq!(line.text(), "");
        line.delete_word();
        line.backspace();
        line.delete_forward();
        assert_eq!(line.text(), "");
    }

    #[test]
    fn pasted_lines_become_one_line() {
        let line = typed("one\r\ntwo\tthree\u{7}\u{1b}[31m");
        assert_eq!(line.text(), "one two three[31m");
        assert!(typed(&"漢".repeat(10_000)).text().len() <= LONGEST);
    }

    #[test]
    fn history_goes_back_and_returns_to_the_draft() {
        let mut line = typed("first");
        assert_eq!(line.send().as_deref(), Some("first"));
        line.insert("  second ");
        assert_eq!(line.send().as_deref(), Some("second"));
        assert_eq!(line.send(), None);
        line.insert("dra");
        line.older();
        assert_eq!(line.text(), "second");
        line.older();
        line.older();
        assert_eq!(line.text(), "first");
        line.newer();
        line.newer();
        assert_eq!(line.text(), "dra");
        line.newer();
        assert_eq!(line.around_cursor(), ("dra", ""));
    }
}
