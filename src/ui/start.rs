//! What stands where the loss will be, before there is one?

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use unicode_width::UnicodeWidthStr;

use super::perplexity::explain;
use super::text::{put, span, wrap};
use super::theme::Theme;
use crate::app::words::{clock, count, gigabytes, rate, thousands};
use crate::app::{App, Run};
use crate::train::DataCheck;
use crate::worker::TrainOrder;

/// What the next run will be; once it is ordered, what was found out about it.
pub(super) fn render(app: &App, theme: &Theme, area: Rect, buf: &mut Buffer) {
    let inner = Rect { x: area.x + 2, width: area.width.saturating_sub(4), ..area };
    match (&app.run, app.order()) {
        (Some(run), _) if run.is_on() => preparing(run, theme, inner, buf),
        (Some(run), _) => over(run, theme, inner, buf),
        (None, Some(order)) => announce(app, order, theme, inner, buf),
        (None, None) => explain("The loss of each step is drawn here.", theme, area, buf),
    }
}

/// What a recipe trains on, in a line.
pub(super) fn describe(recipe: &str) -> &'static str {
    match recipe {
        "qa" => "questions and answers about the facts, in several wordings; loss on the answers only",
        "documents" => "the raw text of the documents; loss on every token",
        "style" => "the voice of a lighthouse keeper's log, for any question; loss on the answers only",
        "sentiment" => "film reviews, and whether each is positive; loss on the one word",
        _ => "a recipe of its own",
    }
}

/// The numbers of an order, in a line.
pub(super) fn numbers(order: &TrainOrder) -> String {
    format!(
        "{} epochs, LoRA r{} α{}, learning rate {}, batch {}",
        order.epochs,
        order.rank,
        order.alpha,
        rate(order.lr),
        order.batch
    )
}

fn announce(app: &App, order: &TrainOrder, theme: &Theme, area: Rect, buf: &mut Buffer) {
    let ready = app.preparation.is_ready();
    let failed = app.preparation.failed.is_some();
    let first = if failed {
        Line::from(vec![span("Space", theme.key()), span(" tries again to get all ready", theme.text())])
    } else if app.wants_run {
        Line::from(span("The run starts as soon as all is ready. Space: not yet.", theme.strong()))
    } else {
        let when =
            if ready { " starts the run: recipe " } else { " starts a run once all is ready: recipe " };
        let (key, text) = if ready { (theme.key(), theme.text()) } else { (theme.quiet(), theme.quiet()) };
        Line::from(vec![span("Space", key), span(when, text), span(order.recipe.clone(), theme.train())])
    };
    let mut row = u16::from(area.height > 5);
    put(&first, area, row, buf);
    row += 1;
    let width = (area.width as usize).min(76);
    if failed {
        return;
    }
    let more = [describe(&order.recipe).to_owned(), numbers(order), "r chooses another recipe".to_owned()];
    for line in more.iter().flat_map(|text| wrap(text, width)) {
        put(&Line::from(span(line, theme.quiet())), area, row, buf);
        row += 1;
    }
}

/// Why there is no loss of a run that is over.
fn over(run: &Run, theme: &Theme, area: Rect, buf: &mut Buffer) {
    let (why, style) = match run.failure() {
        Some(cause) => (cause, theme.general()),
        None => ("The run was stopped before its first step.", theme.text()),
    };
    let width = (area.width as usize).min(90);
    let mut lines: Vec<_> = wrap(why, width).into_iter().map(|l| Line::from(span(l, style))).collect();
    let next = [("r", " chooses another recipe, "), ("Space", " tries again")];
    let next = next.map(|(key, what)| [span(key, theme.key()), span(what, theme.quiet())]);
    lines.push(Line::from(next.concat()));
    for (row, line) in (u16::from(area.height > 5)..).zip(&lines) {
        put(line, area, row, buf);
    }
}

fn preparing(run: &Run, theme: &Theme, area: Rect, buf: &mut Buffer) {
    let width = (area.width as usize).min(90);
    let mut lines = Vec::new();
    match &run.check {
        None => lines.push(Line::from(span("Looking at the training data …", theme.text()))),
        Some(check) => lines.extend(checked(check, width, theme)),
    }
    if let Some(estimate) = &run.estimate {
        let free = match estimate.available_bytes {
            u64::MAX => String::new(),
            bytes => format!(" of {} free", gigabytes(bytes)),
        };
        // Before the first steps are timed nobody knows how long it takes.
        let known = Some(estimate.total_s).filter(|total| total.is_finite());
        let time = known.map(|total| format!(" and about {}", clock(total))).unwrap_or_default();
        let memory = format!("Needs {}{free} memory{time}.", gigabytes(estimate.peak_bytes));
        lines.push(Line::from(span(memory, theme.text())));
    }
    if run.check.is_some() {
        let doing = match run.measuring {
            Some((done, total)) => format!("Measuring what the base model knows: {done} of {total} …"),
            None if run.n_steps > 0 => "Making the first step …".to_owned(),
            None => "Timing a few steps …".to_owned(),
        };
        lines.push(Line::from(span(doing, theme.quiet())));
    }
    if let Some(check) = run.check.as_ref().filter(|check| !check.shown.is_empty()) {
        lines.push(Line::default());
        let legend = "The first example; the loss is taken on what is lit:";
        lines.push(Line::from(span(legend, theme.quiet())));
        lines.extend(masked(check, width, theme));
    }
    for (row, line) in (u16::from(area.height > 5)..).zip(&lines) {
        put(line, area, row, buf);
    }
}

/// What the data check found, as lines.
pub(super) fn checked(check: &DataCheck, width: usize, theme: &Theme) -> Vec<Line<'static>> {
    let n = |n: usize| thousands(n as u64);
    let first = format!(
        "{} to train on, {} held out; {} tokens an epoch, {} of them supervised{}.",
        count(check.n_examples, "example"),
        n(check.n_valid),
        n(check.n_tokens),
        n(check.n_supervised),
        if check.n_truncated > 0 { format!("; {} cut to fit", n(check.n_truncated)) } else { String::new() },
    );
    let mut lines: Vec<_> =
        wrap(&first, width).into_iter().map(|l| Line::from(span(l, theme.text()))).collect();
    for remark in &check.remarks {
        lines.extend(wrap(remark, width).into_iter().map(|l| Line::from(span(l, theme.general()))));
    }
    lines
}

/// The example with its loss mask: supervised tokens lit, the others quiet; line breaks shown.
pub(super) fn masked(check: &DataCheck, width: usize, theme: &Theme) -> Vec<Line<'static>> {
    let (mut lines, mut spans, mut used) = (Vec::new(), Vec::<Span<'static>>::new(), 0);
    for (piece, supervised) in &check.shown {
        let style = if *supervised {
            theme.train().patch(theme.strong()).patch(theme.train())
        } else {
            theme.quiet()
        };
        let piece = piece.replace('\n', "⏎");
        let wide = piece.width();
        if used > 0 && used + wide > width {
            lines.push(Line::from(std::mem::take(&mut spans)));
            used = 0;
        }
        spans.push(span(piece, style));
        used += wide;
    }
    lines.push(Line::from(spans));
    lines
}
