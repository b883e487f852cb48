//! How does text fit into cells?

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

/// Breaks `text` into lines of at most `width` cells, at blanks where there are any.
pub(super) fn wrap(text: &str, width: usize) -> Vec<String> {
    let width = width.max(1);
    let mut lines = Vec::new();
    for paragraph in text.split('\n') {
        let (mut line, mut used) = (String::new(), 0);
        for word in paragraph.split_whitespace() {
            let wide = word.width();
            if used > 0 && used + 1 + wide <= width {
                line.push(' ');
                used += 1;
            } else if used > 0 {
                lines.push(std::mem::take(&mut line));
                used = 0;
            }
            for grapheme in word.graphemes(true) {
                let wide = grapheme.width();
                if used > 0 && used + wide > width {
                    lines.push(std::mem::take(&mut line));
                    used = 0;
                }
                line.push_str(grapheme);
                used += wide;
            }
        }
        lines.push(line);
    }
    while lines.len() > 1 && lines.last().is_some_and(String::is_empty) {
        lines.pop();
    }
    lines
}

/// Breaks `text` into lines of at most `width` cells without losing a blank: after blanks where it
/// can, else anywhere.
pub(super) fn wrap_exactly(text: &str, width: usize) -> Vec<String> {
    let width = width.max(1);
    let mut lines = Vec::new();
    for paragraph in text.split('\n') {
        let (mut line, mut used) = (String::new(), 0);
        for word in paragraph.split_inclusive(' ') {
            // With its blank: that would stand at the start of the next line.
            if used > 0 && used + word.width() > width {
                lines.push(std::mem::take(&mut line));
                used = 0;
            }
            for grapheme in word.graphemes(true) {
                let wide = grapheme.width();
                if used > 0 && used + wide > width {
                    lines.push(std::mem::take(&mut line));
                    used = 0;
                }
                line.push_str(grapheme);
                used += wide;
            }
        }
        lines.push(line);
    }
    lines
}

/// Cuts `text` to `width` cells, with an ellipsis where something is missing.
pub(super) fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let (mut out, mut used) = (String::new(), 0);
    for grapheme in text.graphemes(true) {
        let wide = grapheme.width();
        if used + wide + 1 > width {
            break;
        }
        out.push_str(grapheme);
        used += wide;
    }
    if width > 0 {
        out.push('…');
    }
    out
}

/// The end of `text` that fits into `width` cells.
pub(super) fn tail(text: &str, width: usize) -> &str {
    let (mut start, mut used) = (text.len(), 0);
    for (i, grapheme) in text.grapheme_indices(true).rev() {
        used += grapheme.width();
        if used > width {
            break;
        }
        start = i;
    }
    &text[start..]
}

/// A piece of text in a style.
pub(super) fn span(text: impl Into<String>, style: Style) -> Span<'static> {
    Span::styled(text.into(), style)
}

/// Writes `line` at the start of the given row of `area`, if there is such a row.
pub(super) fn put(line: &Line<'_>, area: Rect, row: u16, buf: &mut Buffer) {
    if row < area.height && area.width > 0 {
        buf.set_line(area.x, area.y + row, line, area.width);
    }
}

/// Writes `line` at the end of the given row of `area`.
pub(super) fn put_right(line: &Line<'_>, area: Rect, row: u16, buf: &mut Buffer) {
    let width = (line.width() as u16).min(area.width);
    put(line, Rect { x: area.right() - width, width, ..area }, row, buf);
}

/// Cuts `line` to `width` cells, with an ellipsis where something is missing.
pub(super) fn cut_line(line: &Line<'static>, width: usize) -> Line<'static> {
    if line.width() <= width {
        return line.clone();
    }
    let (mut spans, mut left) = (Vec::new(), width);
    for piece in &line.spans {
        if piece.width() < left {
            left -= piece.width();
            spans.push(piece.clone());
        } else {
            // The blank stands for what follows, here or in the next piece.
            spans.push(span(cut(&format!("{} ", piece.content), left), piece.style));
            break;
        }
    }
    Line::from(spans)
}

/// The first of `lengths`, the longest first, that fits into `width` cells; else the last of them, cut.
pub(super) fn fitting(lengths: &[Line<'static>], width: usize) -> Line<'static> {
    let fits = lengths.iter().find(|line| line.width() <= width).or(lengths.last());
    fits.map(|line| cut_line(line, width)).unwrap_or_default()
}

/// The rule above a pane, with its title and, at the end, its present value.
pub(super) fn rule(title: &Line<'static>, value: &Line<'static>, place: (Rect, Style), buf: &mut Buffer) {
    rule_with(title, std::slice::from_ref(value), place, buf);
}

/// The same with a value in several lengths, the longest first: the first that fits stands there.
pub(super) fn rule_with(
    title: &Line<'static>,
    lengths: &[Line<'static>],
    (area, style): (Rect, Style),
    buf: &mut Buffer,
) {
    if area.is_empty() {
        return;
    }
    buf.set_string(area.x, area.y, "─".repeat(area.width as usize), style);
    let inner = Rect { x: area.x + 2.min(area.width), width: area.width.saturating_sub(4), ..area };
    let room = (inner.width as usize).saturating_sub(title.width() + 1);
    if let Some(value) = lengths.iter().find(|value| (1..=room).contains(&value.width())) {
        put_right(value, inner, 0, buf);
    }
    put(&cut_line(title, inner.width as usize), inner, 0, buf);
}

/// A bar of `width` cells, `share` of it filled.
pub(super) fn bar(share: f64, width: usize) -> (String, String) {
    let filled = (share.clamp(0.0, 1.0) * width as f64).round() as usize;
    ("▇".repeat(filled), "▁".repeat(width - filled))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_at_blanks_and_never_exceed_the_width() {
        assert_eq!(wrap("the light is kept", 9), ["the light", "is kept"]);
        assert_eq!(wrap("a\n\nb\n\n", 9), ["a", "", "b"]);
        assert_eq!(wrap("abcdefgh ij", 3), ["abc", "def", "gh", "ij"]);
        assert_eq!(wrap("漢字漢字", 5), ["漢字", "漢字"]);
        assert_eq!(wrap("", 5), [""]);
        for width in 1..20 {
            let text = "Tamsin 漢字 Drury\thas kept\nthe Harrow Light since 1961, 👨‍👩‍👧 they say";
            assert!(wrap(text, width).iter().all(|line| line.width() <= width.max(2)));
        }
    }

    #[test]
    fn what_is_shown_exactly_loses_nothing() {
        let text = "<|im_start|>user\n  two  blanks and 漢字漢字漢字 \n\nend";
        for width in 2..30 {
            let lines = wrap_exactly(text, width);
            assert!(lines.iter().all(|line| line.width() <= width));
            assert_eq!(lines.concat(), text.replace('\n', ""));
        }
    }

    #[test]
    fn no_line_begins_with_the_blank_of_the_one_before() {
        assert_eq!(wrap_exactly("in the Isles. She has", 13), ["in the ", "Isles. She ", "has"]);
        assert_eq!(wrap_exactly("in the Isles.", 13), ["in the Isles."]);
    }

    #[test]
    fn cuts_say_so() {
        assert_eq!(cut("people/tamsin", 20), "people/tamsin");
        assert_eq!(cut("people/tamsin", 8), "people/…");
        assert_eq!(cut("漢字", 3), "漢…");
        assert_eq!(cut("ab", 0), "");
        assert_eq!((tail("abc漢", 3), tail("abc", 9)), ("c漢", "abc"));
    }

    #[test]
    fn the_longest_that_fits_is_taken_and_the_last_is_cut() {
        let line = |pieces: &[&str]| {
            Line::from(pieces.iter().map(|piece| span(*piece, Style::new())).collect::<Vec<_>>())
        };
        let lengths = [line(&["loss ", "0.41", " before"]), line(&["loss ", "0.41"])];
        for (width, said) in [
            (16, "loss 0.41 before"),
            (15, "loss 0.41"),
            (9, "loss 0.41"),
            (8, "loss 0.…"),
            (5, "loss…"),
            (1, "…"),
            (0, ""),
        ] {
            assert_eq!(fitting(&lengths, width).to_string(), said);
        }
        assert_eq!(cut_line(&line(&["ab", "cd"]), 2).to_string(), "a…");
        assert_eq!(fitting(&[], 5).width(), 0);
    }

    #[test]
    fn a_value_too_long_for_its_rule_gives_way_to_a_shorter_one() {
        let line = |text: &str| Line::from(span(text.to_owned(), Style::new()));
        let lengths = [line(" train 0.41  valid 0.63 "), line(" train 0.41 ")];
        for (width, said) in
            [(36, lengths[0].to_string()), (24, lengths[1].to_string()), (12, "─".to_owned())]
        {
            let area = Rect::new(0, 0, width, 1);
            let mut buf = Buffer::empty(area);
            rule_with(&line(" loss "), &lengths, (area, Style::new()), &mut buf);
            let shown: String = buf.content().iter().map(ratatui::buffer::Cell::symbol).collect();
            assert!(shown.starts_with("── loss ─") && shown.ends_with(&format!("{said}──")), "{shown}");
        }
    }
}
