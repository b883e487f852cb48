//! What does the lab look like? A picture of [`App`], drawn from scratch each time.

mod answer;
mod ask;
mod axis;
mod chart;
mod claims;
mod dialog;
mod facts;
mod header;
mod layout;
mod loss;
mod passages;
mod perplexity;
mod prompt;
mod raster;
mod ready;
mod recall;
mod start;
mod status;
mod text;
mod theme;

use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::Widget;
use unicode_width::UnicodeWidthStr;

pub use theme::{Ability, Depth, Glyphs, Theme};

use crate::app::{App, Dialog, Pane, Reach, View, sentence};
use crate::lab::Contender;
use answer::AnswerPane;
pub use layout::SMALLEST;
use layout::{Layout, layout};
use loss::{LossChart, Size};
use perplexity::PerplexityChart;
use text::{cut, put, span, wrap};

/// Draws the lab. Says how far the text that scrolls at present goes beyond its place; `None` where the screen is too
/// small for it.
pub fn draw(app: &App, theme: &Theme, frame: &mut Frame) -> Option<Reach> {
    let area = frame.area();
    frame.buffer_mut().set_style(area, theme.ground());
    let Some(places) = layout(area) else {
        too_small(app, theme, area, frame.buffer_mut());
        return None;
    };
    header::Header { app, theme }.render(places.header, frame.buffer_mut());
    status::StatusLine { app, theme }.render(places.status, frame.buffer_mut());
    let reach = match app.view {
        View::Lab => lab(app, theme, &places, frame),
        View::Zoom => zoomed(app, theme, &places, frame),
        View::Facts => {
            facts::render(app, theme, places.body, frame.buffer_mut());
            Reach::default()
        }
        View::Claims => claims::render(app, theme, places.body, frame.buffer_mut()),
        View::Prompt => prompt::render(app, theme, places.body, frame.buffer_mut()),
    };
    Some(dialog::render(app, theme, area, frame.buffer_mut()).unwrap_or(reach))
}

/// What is told where nothing fits: the way out, and what it asks while a run is on.
fn too_small(app: &App, theme: &Theme, area: Rect, buf: &mut Buffer) {
    let (w, h) = SMALLEST;
    let needs = format!("lorascope needs {w}x{h}; this terminal is {}x{}", area.width, area.height);
    let text = match app.dialog {
        Some(Dialog::Quit) => "A run is on. s saves and quits, q quits now, Esc stays.".to_owned(),
        _ if app.run_is_on() => format!("{needs}\nThe run goes on; q quits."),
        _ => format!("{needs}\nq quits."),
    };
    let lines = wrap(&text, area.width as usize);
    let first = area.height.saturating_sub(lines.len() as u16) / 2;
    for (row, line) in (first..area.height).zip(lines) {
        put(&Line::from(span(line, theme.text())), area, row, buf);
    }
}

fn lab(app: &App, theme: &Theme, places: &Layout, frame: &mut Frame) -> Reach {
    let buf = frame.buffer_mut();
    let size = if places.perplexity.is_some() { Size::Beside } else { Size::Alone };
    LossChart { app, theme, size }.render(places.loss, buf);
    if let Some(place) = places.perplexity {
        PerplexityChart { app, theme }.render(place, buf);
    }
    if let Some(place) = places.recall_chart {
        recall::RecallChart { app, theme }.render(place, buf);
    }
    recall::RecallStrip { app, theme }.render(places.recall, buf);
    if let Some(place) = places.facts {
        facts::FactStrip { app, theme }.render(place, buf);
    }
    if let Some(place) = places.sentence {
        say(app, theme, place, buf);
    }
    ask::draw(app, theme, places.ask, frame);
    answers(app, theme, places, frame.buffer_mut())
}

fn answers(app: &App, theme: &Theme, places: &Layout, buf: &mut Buffer) -> Reach {
    let mut reach = Reach::default();
    for (side, place) in places.answers.into_iter().enumerate() {
        let found = AnswerPane { app, theme, side }.draw(place, buf);
        if app.focus.side() == Some(side) {
            reach = found;
        }
    }
    let right = places.answers[1];
    for y in right.top() + 1..right.bottom() {
        buf.set_string(right.x - 1, y, "│", theme.faint());
    }
    reach
}

fn zoomed(app: &App, theme: &Theme, places: &Layout, frame: &mut Frame) -> Reach {
    let body = places.body;
    let rows = Rect { height: body.height.saturating_sub(2), ..body };
    let ask = Rect { y: body.bottom() - 1, height: 1, ..body };
    let above = Rect { y: ask.y - 1, ..ask };
    ask::draw(app, theme, ask, frame);
    let buf = frame.buffer_mut();
    match app.focus {
        Pane::Loss => LossChart { app, theme, size: Size::Zoomed }.render(rows, buf),
        Pane::Perplexity => PerplexityChart { app, theme }.render(rows, buf),
        Pane::Left | Pane::Right => {
            let side = app.focus.side().unwrap_or(0);
            return AnswerPane { app, theme, side }.draw(rows, buf);
        }
    }
    say(app, theme, above, buf);
    Reach::default()
}

/// The sentence under the charts, as long as fits; at the end of a run its result, and what to do with it.
fn say(app: &App, theme: &Theme, area: Rect, buf: &mut Buffer) {
    let Some(run) = &app.run else { return };
    let base_rag = app.rival(Contender::BaseRag);
    let (lengths, next, style) = if run.is_on() {
        (sentence::of(run, base_rag), Vec::new(), theme.text())
    } else {
        (sentence::result(run, base_rag), sentence::next(run), theme.strong())
    };
    let inner = Rect { x: area.x + 1, width: area.width.saturating_sub(2), ..area };
    let (said, next) = fitted(&lengths, &next, (inner.width as usize, inner.height as usize));
    let last = said.len().saturating_sub(1);
    for (row, line) in (0..).zip(&said) {
        let mut spans = vec![span(line.as_str(), style)];
        if inner.height == 1 && row as usize == last {
            spans.extend([span(" ", style), span(next.as_str(), theme.quiet())]);
        }
        put(&Line::from(spans), inner, row, buf);
    }
    if inner.height > 1 {
        put(&Line::from(span(next, theme.quiet())), inner, said.len() as u16, buf);
    }
}

/// The longest of the `lengths` that leaves room for one of `next`, as lines, and that one: on a row of its own, or
/// in the only row behind it. Where there is no room for both, the longest that fits, or what fits of the shortest.
fn fitted(lengths: &[String], next: &[String], (width, rows): (usize, usize)) -> (Vec<String>, String) {
    let folded = || lengths.iter().map(|text| wrap(text, width));
    for lines in folded() {
        let taken = match (rows, lines.as_slice()) {
            (1, [only]) => only.width() + 1,
            (1, _) => continue,
            _ if lines.len() < rows => 0,
            _ => continue,
        };
        if let Some(next) = next.iter().find(|next| next.width() + taken <= width) {
            return (lines, next.clone());
        }
    }
    if let Some(lines) = folded().find(|lines| lines.len() <= rows) {
        return (lines, String::new());
    }
    let mut lines = folded().next_back().unwrap_or_default();
    let rest = lines.split_off(rows.saturating_sub(1).min(lines.len()));
    lines.push(cut(&rest.join(" "), width));
    (lines, String::new())
}

/// A pane's name as it stands in its rule; lit where the focus is.
fn pane_title(name: &str, style: Style, focused: bool) -> Line<'static> {
    let style = if focused { style.add_modifier(Modifier::BOLD) } else { style };
    let sign = if focused { "▸ " } else { " " };
    Line::from(span(format!("{sign}{name} "), style))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sentence_leaves_room_for_what_is_next_and_is_never_cut_without_a_sign() {
        let of = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let lengths = of(&["Done: ten steps, and much more.", "Done: ten steps.", "Done."]);
        let next = of(&["Saved: report it.", "Saved."]);
        let said = |place| {
            let (lines, next) = fitted(&lengths, &next, place);
            format!("{} | {next}", lines.join(" / "))
        };
        assert_eq!(said((40, 2)), "Done: ten steps, and much more. | Saved: report it.");
        assert_eq!(said((20, 3)), "Done: ten steps, and / much more. | Saved: report it.");
        assert_eq!(said((20, 2)), "Done: ten steps. | Saved: report it.");
        assert_eq!(said((40, 1)), "Done: ten steps, and much more. | Saved.");
        assert_eq!(said((23, 1)), "Done: ten steps. | Saved.");
        assert_eq!(said((10, 1)), "Done. | ");
        assert_eq!(said((4, 1)), "Don… | ");
        assert_eq!(fitted(&[], &next, (40, 2)).0, [""]);
    }
}
