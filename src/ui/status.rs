//! Which key is next?

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::Line;
use ratatui::widgets::Widget;

use super::text::{put, put_right, span};
use super::theme::Theme;
use crate::app::words::{clock, count};
use crate::app::{App, Dialog, Stage, View};

/// The bottom line: keys for where the focus is, and one remark.
pub(super) struct StatusLine<'a> {
    pub(super) app: &'a App,
    pub(super) theme: &'a Theme,
}

impl Widget for StatusLine<'_> {
    fn render(self, area: Rect, buf: &mut Buffer) {
        let theme = self.theme;
        let remark = remark(self.app);
        let taken = if remark.is_empty() { 0 } else { remark.chars().count() + 2 };
        let room = (area.width as usize).saturating_sub(taken + 1);
        let (mut spans, mut used) = (vec![span(" ", theme.quiet())], 0);
        for (key, what) in keys(self.app) {
            let wide = key.chars().count() + what.chars().count() + 4;
            if used + wide > room && used > 0 {
                break;
            }
            used += wide;
            spans.push(span(key, theme.key()));
            spans.push(span(format!(" {what}   "), theme.quiet()));
        }
        put(&Line::from(spans), area, 0, buf);
        put_right(&Line::from(span(format!("{remark} "), theme.text())), area, 0, buf);
    }
}

/// The most useful keys, the most useful first.
fn keys(app: &App) -> Vec<(&'static str, &'static str)> {
    if let Some(dialog) = &app.dialog {
        return match dialog {
            Dialog::Quit => vec![("s", "save and quit"), ("q", "quit now"), ("Esc", "stay")],
            Dialog::Recipe { .. } => vec![("↑ ↓", "choose"), ("Enter", "take it"), ("Esc", "back")],
            Dialog::Error(trouble) if trouble.retry => {
                vec![("r", "try again"), ("Esc", "close"), ("q", "quit")]
            }
            Dialog::Help | Dialog::Data => vec![("Esc", "close"), ("↑ ↓", "scroll")],
            Dialog::Error(_) => vec![("Esc", "close")],
        };
    }
    if app.editing {
        return vec![("Enter", "ask both"), ("↑", "earlier"), ("Ctrl-W", "delete word"), ("Esc", "back")];
    }
    if app.view == View::Facts {
        return vec![("f", "back"), ("← → ↑ ↓", "look at a fact"), ("Enter", "ask everybody"), ("?", "help")];
    }
    if app.view == View::Claims {
        return vec![
            ("a", "back"),
            ("↑ ↓", "look at a claim"),
            ("PageDown", "scroll"),
            ("i", "ask"),
            ("?", "help"),
        ];
    }
    if app.view == View::Prompt {
        return vec![("p", "back"), ("Tab", "other side"), ("↑ ↓", "scroll"), ("i", "ask"), ("?", "help")];
    }
    let mut keys = Vec::new();
    if app.view == View::Lab && app.is_answering() {
        keys.push(("Esc", "give up"));
    }
    match app.run.as_ref().map(|run| &run.stage) {
        Some(Stage::Training) => keys.extend([("Space", "pause"), ("s", "stop and save")]),
        Some(Stage::Paused | Stage::Pausing) => keys.extend([("Space", "go on"), ("s", "stop and save")]),
        Some(Stage::Preparing | Stage::Stopping) => {}
        Some(Stage::Ended(_)) => keys.extend([("Space", "run again"), ("r", "recipe")]),
        None if app.wants_run => keys.push(("Space", "not yet")),
        None => keys.extend([("Space", "start"), ("r", "recipe")]),
    }
    keys.push(("i", "ask"));
    if app.view == View::Zoom {
        keys.push(("z", "all panes"));
    }
    if !app.asked.is_empty() {
        keys.push(("p", "prompt"));
    }
    if app.run.as_ref().is_some_and(|run| run.board.len() > 0) {
        keys.push(("f", "facts"));
    }
    if matches!(app.run.as_ref().map(|run| &run.stage), Some(Stage::Ended(_))) {
        keys.push(("a", "claims"));
    }
    keys.push(("Tab", "pane"));
    if app.view == View::Lab {
        keys.push(("z", "zoom"));
    }
    keys.extend([("?", "help"), ("q", "quit")]);
    keys
}

fn remark(app: &App) -> String {
    if let Some((notice, _)) = &app.notice {
        return notice.clone();
    }
    match &app.run {
        Some(_) if app.leaving => return "leaving as soon as it is saved".to_owned(),
        Some(run) if run.stage == Stage::Stopping => return "saving …".to_owned(),
        _ => {}
    }
    if let (true, Some((done, total))) = (app.preparation.is_ready(), app.preparation.indexing) {
        return format!("reading changed documents {done}/{total}");
    }
    let waiting = app.asked.iter().skip(app.shown + 1).filter(|asked| asked.is_open()).count();
    if waiting > 0 {
        return format!("{} waiting", count(waiting, "question"));
    }
    match &app.run {
        Some(run) if run.is_on() && app.is_answering() && run.stage == Stage::Training => {
            return "training waits while answering".to_owned();
        }
        Some(run) if run.is_on() => match (run.measuring, app.saved_at) {
            (Some((done, total)), _) if total > 0 => return format!("measuring {done}/{total}"),
            (_, Some(saved)) => {
                return format!("saved {} ago", clock(app.now.saturating_sub(saved).as_secs_f64()));
            }
            _ => {}
        },
        _ => {}
    }
    if app.preparation.outdated.is_some() {
        "documents as they were before".to_owned()
    } else {
        String::new()
    }
}
