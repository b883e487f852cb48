//! What stands where the answers will be, before anything was asked?

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::Line;
use unicode_width::UnicodeWidthStr;

use super::text::{bar, cut, put, put_right, span, wrap};
use super::theme::Theme;
use crate::app::words::{megabytes, wait, weights};
use crate::app::{App, Fetch};
use crate::lab::Contender;

/// On the left how far getting ready is, then questions to begin with; on the right what will come.
pub(super) fn render(app: &App, theme: &Theme, (side, area): (usize, Rect), buf: &mut Buffer) {
    let lines = match (side, app.preparation.is_ready()) {
        (0, false) => missing(app, theme, area.width as usize),
        (0, true) => suggestions(app, theme, area.width as usize),
        _ => to_come(app, theme, area.width as usize),
    };
    let first = u16::from(area.height > 7);
    for (row, line) in (first..).zip(&lines) {
        put(line, area, row, buf);
    }
    if lines.len() > (area.height - first.min(area.height)) as usize {
        put_right(&Line::from(span(" …", theme.quiet())), area, area.height.saturating_sub(1), buf);
    }
}

fn missing(app: &App, theme: &Theme, width: usize) -> Vec<Line<'static>> {
    let preparation = &app.preparation;
    let mut lines = Vec::new();
    // What was under way when it failed is not any more.
    let failed = preparation.failed.is_some();
    for (model, fetch) in preparation.fetches.iter().filter(|(_, fetch)| !failed || *fetch == Fetch::Fetched)
    {
        lines.extend(fetched(model, fetch, theme, width));
    }
    let line = |sign: &str, text: String, lit: bool| {
        let style = if lit { theme.text() } else { theme.quiet() };
        Line::from(span(cut(&format!("{sign} {text}"), width), style))
    };
    if let Some((name, n)) = &preparation.model {
        lines.push(line("✓", format!("{name} answers, with {} weights", weights(*n)), true));
    }
    if let Some(name) = preparation.loading.as_ref().filter(|_| !failed) {
        lines.push(line("▸", format!("reading {name} …"), true));
    }
    if let Some(cause) = &preparation.failed {
        if !lines.is_empty() {
            lines.push(Line::default());
        }
        lines.extend(wrap(cause, width).into_iter().map(|l| Line::from(span(l, theme.general()))));
        return lines;
    }
    match preparation.indexing {
        Some((done, total)) => {
            lines.push(line("▸", format!("documents: {done} of {total} passages read"), true));
            lines.push(progress(done as f64 / total.max(1) as f64, theme, width));
        }
        None if preparation.fetches.is_empty()
            && preparation.loading.is_none()
            && preparation.model.is_none() =>
        {
            lines.push(line("▸", "looking for the models …".to_owned(), true));
        }
        None => lines.push(line("·", "then the documents are indexed".to_owned(), false)),
    }
    lines
}

fn fetched(model: &str, fetch: &Fetch, theme: &Theme, width: usize) -> Vec<Line<'static>> {
    let text =
        |sign: &str, text: String| Line::from(span(cut(&format!("{sign} {text}"), width), theme.text()));
    match fetch {
        Fetch::Trying(source) => vec![text("▸", format!("{model}: trying {source} …"))],
        Fetch::Verifying => vec![text("▸", format!("{model}: checking the file …"))],
        Fetch::Fetched => vec![text("✓", format!("{model} is in the store"))],
        Fetch::Advanced { done, total, bytes_per_s } => {
            let (have, all) = (megabytes(*done), megabytes(*total));
            let left = total.saturating_sub(*done) as f64 / bytes_per_s.max(1.0);
            let speed = format!("{:.1} MB/s", bytes_per_s / 1e6);
            let amount = format!("{have} of {all} MB, {} left", wait(left));
            let whole = format!("{model}  {amount}  {speed}");
            let first = if whole.width() + 2 <= width {
                vec![text("▸", whole)]
            } else {
                vec![text("▸", model.to_owned()), text(" ", amount)]
            };
            let share = *done as f64 / (*total).max(1) as f64;
            first.into_iter().chain([progress(share, theme, width)]).collect()
        }
    }
}

fn progress(share: f64, theme: &Theme, width: usize) -> Line<'static> {
    let (full, empty) = bar(share, width.saturating_sub(4).min(48));
    Line::from(vec![span("  ", theme.faint()), span(full, theme.text()), span(empty, theme.faint())])
}

fn suggestions(app: &App, theme: &Theme, width: usize) -> Vec<Line<'static>> {
    let mut lines = vec![Line::from(span("Questions to begin with:", theme.quiet()))];
    for (i, question) in app.suggestions().iter().enumerate() {
        let question = cut(question, width.saturating_sub(3));
        lines.push(Line::from(vec![span(format!("{}  ", i + 1), theme.key()), span(question, theme.text())]));
    }
    if lines.len() == 1 {
        lines.clear();
    }
    lines.push(Line::from(vec![span("i  ", theme.key()), span("a question of your own", theme.quiet())]));
    lines
}

fn to_come(app: &App, theme: &Theme, width: usize) -> Vec<Line<'static>> {
    let text = match app.right_side() {
        Contender::Tuned => "The fine-tuned model answers here, from its weights alone.",
        Contender::TunedRag => "The fine-tuned model answers here, from passages it is given.",
        _ if app.adapter.is_some() => {
            "The untouched model answers here, from its weights alone, without looking anything up."
        }
        _ if app.run_is_on() => {
            "The fine-tuned model will answer here, from its weights alone, as soon as the run hands out \
             its first ones. Until then the untouched model answers, without looking anything up."
        }
        _ => {
            "The fine-tuned model will answer here, from its weights alone. Until a run has begun, the \
             untouched model answers without looking anything up."
        }
    };
    wrap(text, width.min(60)).into_iter().map(|line| Line::from(span(line, theme.quiet()))).collect()
}
