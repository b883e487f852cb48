//! What did the retriever find, and what of it did the model read?

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Modifier;
use ratatui::text::Line;
use unicode_width::UnicodeWidthStr;

use super::text::{bar, cut, put, span, wrap};
use super::theme::Theme;
use crate::app::Side;
use crate::rag::Passage;

/// The passages, best first, one a row; the text of those that were read where there is room.
pub(super) fn render(side: &Side, theme: &Theme, area: Rect, buf: &mut Buffer) {
    if side.passages.is_empty() || area.is_empty() {
        return;
    }
    let n = side.passages.len().min(if area.height >= 9 { 5 } else { area.height as usize });
    let name_width = side.passages[..n].iter().map(|passage| passage.document.width()).max().unwrap_or(0);
    for (row, passage) in side.passages[..n].iter().enumerate() {
        let used = row < side.n_used;
        put(&entry((passage, used), side, (name_width, area.width as usize), theme), area, row as u16, buf);
    }
    let below = Rect { y: area.y + n as u16 + 1, height: area.height.saturating_sub(n as u16 + 1), ..area };
    texts(side, theme, below, buf);
}

fn entry(
    (passage, used): (&Passage, bool),
    side: &Side,
    (name, width): (usize, usize),
    theme: &Theme,
) -> Line<'static> {
    let colour = theme.contender(side.contender);
    let (style, numbers) = if used {
        (colour.add_modifier(Modifier::BOLD), theme.text())
    } else {
        (theme.quiet(), theme.quiet())
    };
    let sign = if used { "▸" } else { " " };
    let bars = if width >= 48 { 6 } else { 0 };
    let scores = scores(passage, width.saturating_sub(4 + bars), name);
    let room = width.saturating_sub(4 + scores.width() + bars);
    let name = name.min(room);
    let document = cut(&passage.document, name);
    let pad = " ".repeat(name.saturating_sub(document.width()));
    let mut spans = vec![
        span(format!("{sign}{} ", passage.final_rank), style),
        span(document + &pad, style),
        span(scores, numbers),
    ];
    if bars > 0 {
        let (full, empty) = bar(f64::from(passage.cosine), bars);
        let (full, empty) = (full.replace('▇', "━"), empty.replace('▁', "─"));
        spans.extend([span(full, if used { colour } else { theme.quiet() }), span(empty, theme.faint())]);
    }
    Line::from(spans)
}

/// Cells of a document's name that the scores leave it.
const NAME: usize = 16;

/// What both retrievers say of a passage, as much as leaves room for names of `name` cells.
fn scores(passage: &Passage, width: usize, name: usize) -> String {
    let rank = passage.bm25_rank.map_or("–".to_owned(), |rank| format!("#{rank}"));
    let cosine = format!("cos {:.2} ", passage.cosine.clamp(-1.0, 1.0));
    let all = [format!("  bm25 {rank:<3} {cosine}"), format!("  {cosine}")];
    let fits = |scores: &String| width >= scores.width() + name.min(NAME);
    all.into_iter().find(fits).unwrap_or_default()
}

/// The passages that were read, as far as there is room.
fn texts(side: &Side, theme: &Theme, area: Rect, buf: &mut Buffer) {
    if area.height < 2 {
        return;
    }
    let width = area.width.saturating_sub(2).min(96) as usize;
    let mut lines = Vec::new();
    for passage in side.passages.iter().take(side.n_used.max(1)) {
        lines.push((passage.heading.clone(), theme.quiet().add_modifier(Modifier::ITALIC)));
        lines.extend(wrap(&passage.text, width).into_iter().map(|line| (line, theme.quiet())));
        lines.push((String::new(), theme.quiet()));
    }
    for (row, (line, style)) in (0..area.height).zip(lines) {
        let rule = span("│ ", theme.contender(side.contender));
        put(&Line::from(vec![rule, span(cut(&line, width), style)]), area, row, buf);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_give_way_to_the_name() {
        let passage = Passage {
            document: "people/tamsin-drury".to_owned(),
            heading: String::new(),
            text: String::new(),
            bm25_rank: Some(1),
            bm25_score: 9.0,
            cosine: 0.71,
            sentence_cosine: 0.71,
            start: 0,
            sentences: Vec::new(),
            final_rank: 1,
        };
        let of = |width, name| scores(&passage, width, name);
        assert_eq!(of(40, 19), "  bm25 #1  cos 0.71 ");
        assert_eq!(of(31, 19), "  cos 0.71 ");
        assert_eq!(of(31, 9), "  bm25 #1  cos 0.71 ", "a short name needs no more");
        assert_eq!(of(20, 19), "");
    }
}
