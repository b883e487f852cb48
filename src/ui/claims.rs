//! Which of the article's claims hold here?

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::Line;

use super::answer::put_with_more;
use super::text::{cut, put, rule, span, wrap};
use super::theme::Theme;
use crate::app::{App, Reach, Verdicts};
use crate::lab::Contender;
use crate::lab::claims::{Borne, Finding, Judged};

/// Width of a claim's name and of its verdict.
const NAME: usize = 16;
const VERDICT: usize = 16;

/// Every claim with its verdict, and what is known about the one that is looked at.
/// Says how far the latter can be scrolled.
pub(super) fn render(app: &App, theme: &Theme, area: Rect, buf: &mut Buffer) -> Reach {
    let title = super::pane_title("the article's claims, and what the runs here show", theme.strong(), true);
    rule(&title, &Line::default(), (Rect { height: 1, ..area }, theme.rule(true)), buf);
    let inner = Rect {
        x: area.x + 1,
        y: area.y + 1,
        width: area.width.saturating_sub(2),
        height: area.height.saturating_sub(1),
    };
    let judged = match &app.verdicts {
        Verdicts::Unread => {
            put(&Line::from(span("looking at the runs …", theme.quiet())), inner, 0, buf);
            return Reach::default();
        }
        Verdicts::Failed(cause) => {
            for (row, line) in (0..).zip(wrap(cause, inner.width as usize)) {
                put(&Line::from(span(line, theme.general())), inner, row, buf);
            }
            return Reach::default();
        }
        Verdicts::Judged(judged) => judged,
    };
    for (row, (i, judged)) in (0..).zip(judged.iter().enumerate()) {
        put(&claim(judged, i == app.claim, (theme, inner.width as usize)), inner, row, buf);
    }
    let Some(looked_at) = judged.get(app.claim) else { return Reach::default() };
    let below = judged.len() as u16 + 1;
    let rest = Rect { y: inner.y + below, height: inner.height.saturating_sub(below), ..inner };
    let lines = about(looked_at, theme, rest.width as usize);
    let page = rest.height as usize;
    let hidden = lines.len().saturating_sub(page);
    let first = app.claim_scroll.min(hidden);
    for (row, line) in (0..rest.height).zip(&lines[first..]) {
        put(line, rest, row, buf);
    }
    if first < hidden {
        let more = Line::from(span(format!(" ▾ {} more, PageDown ", hidden - first), theme.key()));
        if let Some(last) = lines[first..].get(page.saturating_sub(1)) {
            put_with_more(last, &more, (rest, theme), buf);
        }
    }
    Reach { lines: hidden, page }
}

/// The sign and the words of a verdict.
fn verdict(verdict: Option<Borne>, theme: &Theme) -> (String, Style) {
    match verdict {
        None => ("  not measured".to_owned(), theme.quiet()),
        Some(Borne::Held) => ("✓ held".to_owned(), theme.strong()),
        Some(Borne::NotHeld) => ("✗ did not hold".to_owned(), theme.strong()),
        Some(Borne::Depends) => ("± depends".to_owned(), theme.text()),
    }
}

fn claim(judged: &Judged, selected: bool, (theme, width): (&Theme, usize)) -> Line<'static> {
    let (words, style) = verdict(judged.verdict, theme);
    let sign = if selected { "▸ " } else { "  " };
    let name = format!("{sign}{:<NAME$}", judged.claim.name());
    let says = cut(judged.claim.says(), width.saturating_sub(NAME + VERDICT + 2));
    let named = if selected { theme.strong() } else { theme.text() };
    Line::from(vec![span(name, named), span(format!("{words:<VERDICT$}"), style), span(says, theme.quiet())])
}

/// What is claimed, what the runs show, how the verdict is found.
fn about(judged: &Judged, theme: &Theme, width: usize) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    let mut add = |text: &str, indent: usize, style: Style| {
        let folded = wrap(text, width.saturating_sub(indent)).into_iter();
        lines.extend(folded.map(|line| Line::from(span(format!("{}{line}", " ".repeat(indent)), style))));
    };
    add(judged.claim.says(), 0, theme.strong());
    for finding in &judged.findings {
        let sign = verdict(Some(finding.verdict), theme).0.chars().next().unwrap_or(' ');
        let Finding { about, measured, run, .. } = finding;
        add(&format!("{sign} {about}: {measured} ({run})"), 2, theme.contender(Contender::Tuned));
    }
    if judged.findings.is_empty() {
        add(&format!("No run shows it yet: {}", judged.claim.how()), 2, theme.text());
    }
    add(judged.claim.rule(), 0, theme.quiet());
    lines
}
