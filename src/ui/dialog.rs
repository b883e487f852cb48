//! What lies over the screen and wants an answer?

use std::ops::Range;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::Line;
use ratatui::widgets::{Block, BorderType, Clear, Widget};
use unicode_width::UnicodeWidthStr;

use super::start::{checked, describe, masked, numbers};
use super::text::{put, span, wrap};
use super::theme::Theme;
use crate::app::{App, Dialog, EDITING, HELP, Reach, Run, Trouble};

/// Draws the dialog, if there is one; says how far it scrolls.
pub(super) fn render(app: &App, theme: &Theme, area: Rect, buf: &mut Buffer) -> Option<Reach> {
    let dialog = app.dialog.as_ref()?;
    let width = (area.width as usize - 8).min(76);
    let mut scroll = Scroll::Away(app.dialog_scroll);
    let (title, style, lines) = match dialog {
        Dialog::Help => ("keys".to_owned(), theme.quiet(), help(theme, width)),
        Dialog::Data => {
            ("what is trained on".to_owned(), theme.train(), data(app.run.as_ref()?, theme, width))
        }
        Dialog::Recipe { selected } => {
            let (lines, chosen) = recipes(app, *selected, (theme, width));
            scroll = Scroll::Keep(chosen);
            ("recipe".to_owned(), theme.train(), lines)
        }
        Dialog::Quit => ("a run is on".to_owned(), theme.train(), quit(app, theme, width)),
        Dialog::Error(trouble) => (trouble.title.clone(), theme.general(), error(trouble, theme, width)),
    };
    Some(boxed((title, style), &lines, scroll, (theme, area, buf)))
}

/// Which of the lines are shown where they do not all fit.
enum Scroll {
    /// So many are scrolled away above.
    Away(usize),
    /// Those from the start that still show these.
    Keep(Range<usize>),
}

/// A box in the middle, with as many of the lines as fit.
fn boxed(
    (title, style): (String, Style),
    lines: &[Line<'_>],
    scroll: Scroll,
    (theme, area, buf): (&Theme, Rect, &mut Buffer),
) -> Reach {
    let widest = lines.iter().map(Line::width).max().unwrap_or(0).max(title.width() + 4) as u16;
    let width = (widest + 6).min(area.width);
    let height = (lines.len() as u16 + 4).min(area.height.saturating_sub(2));
    let place =
        Rect { x: area.x + (area.width - width) / 2, y: area.y + (area.height - height) / 2, width, height };
    Clear.render(place, buf);
    buf.set_style(place, theme.ground());
    let title = Line::from(span(format!(" {title} "), theme.strong()));
    Block::bordered().border_type(BorderType::Rounded).border_style(style).title(title).render(place, buf);
    let inner = Rect {
        x: place.x + 3,
        y: place.y + 2,
        width: place.width.saturating_sub(6),
        height: place.height.saturating_sub(4),
    };
    let page = inner.height as usize;
    let hidden = lines.len().saturating_sub(page);
    let scroll = match scroll {
        Scroll::Away(n) => n.min(hidden),
        Scroll::Keep(lines) => lines.end.saturating_sub(page).min(lines.start),
    };
    for (row, line) in (0..inner.height).zip(&lines[scroll..]) {
        put(line, inner, row, buf);
    }
    if scroll < hidden {
        let more = Line::from(span(format!(" ▾ {} more ", hidden - scroll), theme.quiet()));
        put(&more, Rect { y: place.bottom() - 1, height: 1, ..inner }, 0, buf);
    }
    Reach { lines: hidden, page }
}

fn paragraph(text: &str, style: Style, width: usize) -> Vec<Line<'static>> {
    wrap(text, width).into_iter().map(|line| Line::from(span(line, style))).collect()
}

fn help(theme: &Theme, width: usize) -> Vec<Line<'static>> {
    let key_width = 16;
    let entry = |(keys, what): &(&str, &str)| {
        let lines = wrap(what.trim(), width - key_width).into_iter().enumerate();
        let keys = |i| if i == 0 { *keys } else { "" };
        let line = |(i, what)| {
            Line::from(vec![span(format!("{:<key_width$}", keys(i)), theme.key()), span(what, theme.text())])
        };
        lines.map(line).collect::<Vec<_>>()
    };
    let mut lines = Vec::new();
    for (group, actions) in HELP {
        lines.push(Line::from(span(*group, theme.train())));
        lines.extend(actions.iter().flat_map(entry));
    }
    lines.push(Line::from(span("in the ask line", theme.train())));
    lines.extend(EDITING.iter().flat_map(entry));
    lines
}

fn data(run: &Run, theme: &Theme, width: usize) -> Vec<Line<'static>> {
    let Some(check) = &run.check else { return Vec::new() };
    let mut lines = checked(check, width, theme);
    lines.push(Line::default());
    let legend =
        "The first example as the model reads it. The loss is taken on what is lit; the rest is only read.";
    lines.extend(paragraph(legend, theme.quiet(), width));
    lines.push(Line::default());
    lines.extend(masked(check, width, theme));
    lines
}

/// All recipes, and the lines of the one that is looked at.
fn recipes(
    app: &App,
    selected: usize,
    (theme, width): (&Theme, usize),
) -> (Vec<Line<'static>>, Range<usize>) {
    let mut chosen = 0..0;
    let mut lines = paragraph("What is the next run to train on?", theme.text(), width);
    for (i, order) in app.setup.recipes.iter().enumerate() {
        lines.push(Line::default());
        let start = lines.len();
        let sign = if i == selected { "▸" } else { " " };
        let style = if i == selected { theme.train().patch(Style::new().bold()) } else { theme.text() };
        lines.push(Line::from(span(format!("{sign} {}  {}", i + 1, order.recipe), style)));
        for text in [describe(&order.recipe).to_owned(), numbers(order)] {
            let indented = wrap(&text, width - 5).into_iter();
            lines.extend(indented.map(|line| Line::from(span(format!("     {line}"), theme.quiet()))));
        }
        if i == selected {
            chosen = start..lines.len();
        }
    }
    (lines, chosen)
}

fn quit(app: &App, theme: &Theme, width: usize) -> Vec<Line<'static>> {
    let Some(run) = &app.run else { return Vec::new() };
    let step = format!("Step {} of {} is done.", run.step(), run.n_steps);
    let kept = match (run.saved, &run.folder) {
        (Some(step), Some(folder)) => format!(
            "If you quit now, the checkpoint of step {step} stays: lorascope train --resume --run {}",
            folder.display()
        ),
        _ => "If you quit now, nothing of it is kept: no checkpoint was written yet.".to_owned(),
    };
    let mut lines = paragraph(&step, theme.text(), width);
    lines.extend(paragraph(&kept, theme.quiet(), width));
    lines.push(Line::default());
    for (key, what) in [("s", "save the adapter, then quit"), ("q", "quit now"), ("Esc", "stay")] {
        lines.push(Line::from(vec![span(format!("{key:<6}"), theme.key()), span(what, theme.text())]));
    }
    lines
}

fn error(trouble: &Trouble, theme: &Theme, width: usize) -> Vec<Line<'static>> {
    let mut lines = paragraph(&trouble.cause, theme.text(), width);
    lines.push(Line::default());
    lines.extend(paragraph(&trouble.way_out, theme.quiet(), width));
    lines.push(Line::default());
    let keys: &[(&str, &str)] = if trouble.retry {
        &[("r", "try again"), ("Esc", "close"), ("q", "quit")]
    } else {
        &[("Esc", "close")]
    };
    let mut spans = Vec::new();
    for (key, what) in keys {
        spans.extend([span(*key, theme.key()), span(format!(" {what}    "), theme.quiet())]);
    }
    lines.push(Line::from(spans));
    lines
}
