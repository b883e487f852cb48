//! What is being asked?

use ratatui::Frame;
use ratatui::layout::{Position, Rect};
use ratatui::text::Line;
use unicode_width::UnicodeWidthStr;

use super::text::{cut, put, put_right, span, tail};
use super::theme::Theme;
use crate::app::App;

const PROMPT: &str = " ask ▸ ";

/// The ask line, with the terminal's own cursor while it is edited.
pub(super) fn draw(app: &App, theme: &Theme, area: Rect, frame: &mut Frame) {
    let prompt = if app.editing { theme.strong() } else { theme.quiet() };
    put(&Line::from(span(PROMPT, prompt)), area, 0, frame.buffer_mut());
    let taken = PROMPT.width() as u16;
    let inner = Rect { x: area.x + taken, width: area.width.saturating_sub(taken + 1), ..area };
    if app.editing {
        edited(app, theme, inner, frame);
        return;
    }
    let buf = frame.buffer_mut();
    let many = match app.asked.len() {
        0 | 1 => String::new(),
        n => format!("← {}/{n} →", app.shown + 1),
    };
    put_right(&Line::from(span(many.clone(), theme.quiet())), inner, 0, buf);
    let room = (inner.width as usize).saturating_sub(many.width() + 1);
    let line = match (&app.wants_answer, app.question()) {
        (Some(question), _) => {
            let note = match &app.preparation.failed {
                Some(cause) => format!("  (waits; Space tries again: {cause})"),
                None => "  (asked as soon as all is ready)".to_owned(),
            };
            let note = cut(&note, room.saturating_sub(question.width()).max(room / 2));
            let question = cut(question, room.saturating_sub(note.width()));
            Line::from(vec![span(question, theme.text()), span(note, theme.quiet())])
        }
        (None, Some(asked)) => Line::from(span(cut(&asked.question, room), theme.text())),
        (None, None) if !app.line.text().is_empty() => {
            Line::from(span(cut(app.line.text(), room), theme.quiet()))
        }
        (None, None) => Line::from(span("press i and ask something about the documents", theme.quiet())),
    };
    put(&line, inner, 0, buf);
}

fn edited(app: &App, theme: &Theme, inner: Rect, frame: &mut Frame) {
    let (before, after) = app.line.around_cursor();
    let width = inner.width as usize;
    // Keeps the cursor on the screen, and a little of what follows it.
    let ahead = after.width().min(width / 4);
    let room = width.saturating_sub(ahead + 1);
    let fits = before.width() <= room;
    let (sign, before) = if fits { ("", before) } else { ("…", tail(before, room.saturating_sub(1))) };
    let at = sign.width() + before.width();
    let line = Line::from(vec![
        span(sign, theme.quiet()),
        span(before, theme.strong()),
        span(cut(after, width - at.min(width)), theme.strong()),
    ]);
    put(&line, inner, 0, frame.buffer_mut());
    frame.set_cursor_position(Position::new(inner.x + (at as u16).min(inner.width), inner.y));
}
