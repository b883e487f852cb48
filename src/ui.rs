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

pub use theme::{Ability, Depth, Glyphs, Theme};

use crate::app::{App, Pane, Reach, Run, Stage, View, sentence};
use crate::lab::Contender;
use crate::train::RunOutcome;
use answer::AnswerPane;
pub use layout::SMALLEST;
use layout::{Layout, layout};
use loss::{LossChart, Size};
use perplexity::PerplexityChart;
use text::{cut, put, span, wrap};

/// Draws the lab. Says how far the text that scrolls at present goes beyond its place.
pub fn draw(app: &App, theme: &Theme, frame: &mut Frame) -> Reach {
    let area = frame.area();
    frame.buffer_mut().set_style(area, theme.ground());
    let Some(places) = layout(area) else {
        too_small(theme, area, frame.buffer_mut());
        return Reach::default();
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
    dialog::render(app, theme, area, frame.buffer_mut()).unwrap_or(reach)
}

fn too_small(theme: &Theme, area: Rect, buf: &mut Buffer) {
    let (w, h) = SMALLEST;
    let line = format!("lorascope needs {w}x{h}; this terminal is {}x{}", area.width, area.height);
    let lines = wrap(&line, area.width as usize);
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

/// The sentence under the charts, as long as fits; at the end of a run its result.
fn say(app: &App, theme: &Theme, area: Rect, buf: &mut Buffer) {
    let Some(run) = &app.run else { return };
    let base_rag = app.rival(Contender::BaseRag);
    let (lengths, style) = if run.is_on() {
        (sentence::of(run, base_rag), theme.text())
    } else {
        (sentence::result(run, base_rag), theme.strong())
    };
    let inner = Rect { x: area.x + 1, width: area.width.saturating_sub(2), ..area };
    let (width, rows) = (inner.width as usize, inner.height as usize);
    let folded = || lengths.iter().map(|text| wrap(text, width));
    let Some(lines) = folded().find(|lines| lines.len() <= rows).or_else(|| folded().next_back()) else {
        return;
    };
    for (row, line) in (0..).zip(&lines) {
        put(&Line::from(span(line.as_str(), style)), inner, row, buf);
    }
    if let Some(next) = what_next(run) {
        put(&Line::from(span(cut(&next, width), theme.quiet())), inner, lines.len() as u16, buf);
    }
}

/// What can be done with a run that is over.
fn what_next(run: &Run) -> Option<String> {
    let folder = run.folder.as_ref()?.display();
    match (&run.stage, run.saved) {
        (Stage::Ended(RunOutcome::Completed), _) => Some(format!(
            "Saved in {folder}. `lorascope report {folder}` draws it; r tries another recipe; i asks on."
        )),
        (Stage::Ended(_), Some(step)) => {
            Some(format!("Saved up to step {step}: `lorascope train --resume --run {folder}` goes on."))
        }
        _ => None,
    }
}

/// A pane's name as it stands in its rule; lit where the focus is.
fn pane_title(name: &str, style: Style, focused: bool) -> Line<'static> {
    let style = if focused { style.add_modifier(Modifier::BOLD) } else { style };
    let sign = if focused { "▸ " } else { " " };
    Line::from(span(format!("{sign}{name} "), style))
}
