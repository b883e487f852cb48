//! What exactly did each side read?

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::answer::scrolled;
use super::text::{fitting, rule, span, wrap_exactly};
use super::theme::{Theme, marker, spoken};
use crate::app::{App, Pane, Reach};

/// The exact prompts of both sides, special tokens included; says how far the focused one scrolls.
pub(super) fn render(app: &App, theme: &Theme, area: Rect, buf: &mut Buffer) -> Reach {
    let Some(asked) = app.question() else { return Reach::default() };
    let mut reach = Reach::default();
    for (i, side) in asked.sides.iter().enumerate() {
        let half = area.width / 2;
        let x = area.x + if i == 0 { 0 } else { half };
        let width = if i == 0 { half } else { area.width - half };
        let focused = app.focus == if i == 0 { Pane::Left } else { Pane::Right };
        let style = theme.contender(side.contender);
        let title = |words: &str| {
            let name = format!("{} {words} {}", marker(side.contender), spoken(side.contender));
            super::pane_title(&name, style, focused)
        };
        let title = fitting(&["the prompt of", "prompt of"].map(title), (width as usize).saturating_sub(5));
        let tokens = side.answer.as_ref().map_or(String::new(), |a| format!(" {} tok ", a.n_prompt_tokens));
        let place = Rect { x, y: area.y, width: width.saturating_sub(u16::from(i == 0)), height: 1 };
        rule(&title, &Line::from(span(tokens, theme.quiet())), (place, theme.rule(focused)), buf);
        let inner = Rect {
            x: x + 2,
            y: area.y + 2,
            width: width.saturating_sub(4),
            height: area.height.saturating_sub(2),
        };
        if inner.is_empty() {
            continue;
        }
        let text = if side.prompt.is_empty() { "not built yet" } else { side.prompt.as_str() };
        let lines = wrap_exactly(text, inner.width as usize);
        let lines: Vec<_> = lines.iter().map(|line| special(line, style, theme)).collect();
        let found = scrolled(&lines, app.prompt_scroll[i], theme, (inner, buf));
        if focused {
            reach = found;
        }
    }
    reach
}

/// A line with its special tokens told apart from the text.
fn special<'a>(line: &'a str, style: Style, theme: &Theme) -> Line<'a> {
    let (mut spans, mut rest) = (Vec::new(), line);
    while let Some((before, token, after)) = next_token(rest) {
        spans.push(Span::styled(before, theme.text()));
        spans.push(Span::styled(token, style));
        rest = after;
    }
    spans.push(Span::styled(rest, theme.text()));
    Line::from(spans)
}

/// The first control token of the chat formats, with what surrounds it.
fn next_token(text: &str) -> Option<(&str, &str, &str)> {
    let start =
        text.find("<|").or_else(|| text.find("<start_of_turn>")).or_else(|| text.find("<end_of_turn>"))?;
    let end = start + text[start..].find('>')? + 1;
    Some((&text[..start], &text[start..end], &text[end..]))
}
