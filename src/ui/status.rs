//! Which key is next?

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::Line;
use ratatui::widgets::Widget;
use unicode_width::UnicodeWidthStr;

use super::text::{cut, put, put_right, span};
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
        let (keys, width) = (keys(self.app), area.width as usize);
        let always = always(&keys).map_or(0, wide);
        let remark = cut(&remark(self.app), width.saturating_sub(always + 2));
        let taken = if remark.is_empty() { 0 } else { remark.width() + 1 };
        let mut spans = vec![span(" ", theme.quiet())];
        // One blank of the last gap is enough.
        for (key, what) in fitting(keys, (width + 2).saturating_sub(taken + 1)) {
            spans.push(span(key, theme.key()));
            spans.push(span(format!(" {what}   "), theme.quiet()));
        }
        put(&Line::from(spans), area, 0, buf);
        put_right(&Line::from(span(format!("{remark} "), theme.text())), area, 0, buf);
    }
}

/// A key and what it does.
type Entry = (&'static str, &'static str);

/// Cells of a key, with the gap behind it.
fn wide((key, what): &Entry) -> usize {
    key.width() + 1 + what.width() + 3
}

/// The key that leads to all others, or out: it is always on the screen.
fn always(keys: &[Entry]) -> Option<&Entry> {
    keys.iter().find(|(key, _)| *key == "?").or(keys.iter().find(|(key, _)| *key == "Esc"))
}

/// As many of the keys as fit, the first ones first.
fn fitting(keys: Vec<Entry>, room: usize) -> Vec<Entry> {
    let always = always(&keys).copied();
    let mut left = room.saturating_sub(always.as_ref().map_or(0, wide));
    let mut full = false;
    let fits = |entry: &Entry| {
        if Some(*entry) == always {
            return true;
        }
        full |= wide(entry) > left;
        left = left.saturating_sub(wide(entry));
        !full
    };
    keys.into_iter().filter(fits).collect()
}

/// The most useful keys, the most useful first.
fn keys(app: &App) -> Vec<Entry> {
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
        Some(Stage::Preparing) => keys.push(("s", "stop")),
        Some(Stage::Stopping) => {}
        Some(Stage::Ended(_)) => keys.extend([("Space", "run again"), ("r", "recipe")]),
        None if app.preparation.failed.is_some() => keys.push(("Space", "try again")),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_to_all_other_keys_is_always_there() {
        let keys = vec![("Space", "pause"), ("i", "ask"), ("?", "help"), ("q", "quit")];
        let fits = |room| fitting(keys.clone(), room).iter().map(|(key, _)| *key).collect::<Vec<_>>();
        assert_eq!(fits(44), ["Space", "i", "?", "q"]);
        assert_eq!(fits(39), ["Space", "i", "?"]);
        assert_eq!(fits(30), ["Space", "?"]);
        assert_eq!(fits(3), ["?"]);
        let typing = vec![("Enter", "ask both"), ("Ctrl-W", "delete word"), ("Esc", "back")];
        assert_eq!(fitting(typing, 30), [("Enter", "ask both"), ("Esc", "back")]);
    }
}
