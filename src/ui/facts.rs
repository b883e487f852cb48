//! Which facts are in?

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::Widget;
use unicode_width::UnicodeWidthStr;

use super::text::{cut, put, rule, span, wrap};
use super::theme::Theme;
use crate::app::words::{count, thousands};
use crate::app::{App, Asked, Board, COLUMNS, Counts, Progress, Run, Side, Standing};
use crate::corpus::Wording;
use crate::lab::Contender;

/// Width of the board: two characters a cell.
const BOARD: u16 = 2 * COLUMNS as u16 + 2;
/// From this width on the fact stands beside the board.
const BESIDE: u16 = BOARD + 36;
/// Rows of the fact below the board, without and with everybody's answers.
const BELOW: u16 = 7;
const BELOW_WITH_ANSWERS: u16 = 11;
/// Lines of an answer at most.
const ANSWER_LINES: usize = 3;

/// The sign and the colour of a cell; the sign alone says it too.
fn look(standing: Standing, theme: &Theme) -> (&'static str, Style) {
    let tuned = theme.contender(Contender::Tuned);
    let style = match standing {
        Standing::Unread => theme.faint(),
        Standing::Absent => theme.quiet(),
        Standing::Faint | Standing::Near | Standing::In => tuned,
        Standing::Lost => theme.general(),
    };
    (standing.sign(), style)
}

/// One line: the facts in unseen wordings, as many as there is room for, and how many of all are in.
pub(super) struct FactStrip<'a> {
    pub(super) app: &'a App,
    pub(super) theme: &'a Theme,
}

impl Widget for FactStrip<'_> {
    fn render(self, area: Rect, buf: &mut Buffer) {
        let theme = self.theme;
        let title = Line::from(vec![span(" facts ", theme.quiet())]);
        rule(&title, &Line::default(), (area, theme.faint()), buf);
        let inner = Rect { x: area.x + 10, width: area.width.saturating_sub(11), ..area };
        let Some(board) = self.app.run.as_ref().map(|run| &run.board).filter(|board| board.len() > 0) else {
            let task = self.app.run.as_ref().is_some_and(Run::is_task);
            let told = match &self.app.preparation.stock {
                _ if task => " this recipe learns a task, no facts ",
                Some(stock) if stock.n_facts == 0 => " this corpus has no facts.jsonl ",
                _ => " – ",
            };
            return put(&Line::from(span(told, theme.quiet())), inner, 0, buf);
        };
        let parts = board.parts();
        let Some((wording, cells)) =
            parts.iter().find(|(wording, _)| *wording == Wording::Unseen).or(parts.first()).cloned()
        else {
            return;
        };
        let told = format!(" {} f shows all ", told(wording, board.counts(cells.clone())));
        let room = (inner.width as usize).saturating_sub(told.chars().count() + 2);
        let n = cells.len().min(room);
        let mut spans = vec![span(" ", theme.faint())];
        spans.extend((0..n).map(|i| {
            let (sign, style) = look(board.standing(cells.start + i * cells.len() / n), theme);
            span(sign, style)
        }));
        spans.push(span(told, theme.text()));
        put(&Line::from(spans), inner, 0, buf);
    }
}

fn told(wording: Wording, counts: Counts) -> String {
    let Counts { n, n_in, n_lost, n_unread } = counts;
    let name = wording.name().replace('_', "-");
    let lost = if n_lost > 0 { format!(", {} lost again", thousands(n_lost as u64)) } else { String::new() };
    let unread =
        if n_unread > 0 { format!(", {} not read yet", thousands(n_unread as u64)) } else { String::new() };
    format!("{name}: {} of {} in{lost}{unread} ", thousands(n_in as u64), thousands(n as u64))
}

/// The whole board, and the fact that is looked at.
pub(super) fn render(app: &App, theme: &Theme, area: Rect, buf: &mut Buffer) {
    let Some(run) = &app.run else { return };
    let board = &run.board;
    let title = super::pane_title("facts", theme.contender(Contender::Tuned), true);
    let top = Rect { height: 1, ..area };
    rule(&title, &legend(theme, area.width), (top, theme.rule(true)), buf);
    let rest = Rect { y: area.y + 1, height: area.height.saturating_sub(1), ..area };
    let (grid, fact) = if area.width >= BESIDE {
        let grid = Rect { width: BOARD, ..rest };
        (
            grid,
            Rect {
                x: grid.right() + 2,
                width: rest.width - BOARD - 3,
                y: rest.y + 1,
                height: rest.height - 1,
            },
        )
    } else {
        let below =
            if asked_about(app, board).is_some() { BELOW_WITH_ANSWERS } else { BELOW }.min(rest.height);
        let grid = Rect { height: rest.height - below, ..rest };
        (grid, Rect { x: rest.x + 1, y: grid.bottom(), width: rest.width.saturating_sub(2), height: below })
    };
    cells(board, theme, grid, buf);
    about(app, board, (theme, fact), buf);
}

fn legend(theme: &Theme, width: u16) -> Line<'static> {
    let all = [
        (Standing::In, "in", "in"),
        (Standing::Near, "below 1/2", "<1/2"),
        (Standing::Faint, "1/10", "<1/10"),
        (Standing::Absent, "1/100", "<1/100"),
        (Standing::Lost, "lost again", "lost"),
        (Standing::Unread, "not read", "unread"),
    ];
    let entry = |(standing, name, brief): (Standing, &'static str, &'static str)| {
        let (sign, style) = look(standing, theme);
        [span(format!(" {sign} "), style), span(if width < BOARD { brief } else { name }, theme.quiet())]
    };
    all.into_iter().flat_map(entry).chain([span(" ", theme.quiet())]).collect()
}

/// A row of the board: a heading, or the cells that stand in it.
enum Row {
    Heading(Wording, std::ops::Range<usize>),
    Cells(std::ops::Range<usize>),
}

fn cells(board: &Board, theme: &Theme, area: Rect, buf: &mut Buffer) {
    let mut rows = Vec::new();
    for (wording, range) in board.parts() {
        rows.push(Row::Heading(wording, range.clone()));
        rows.extend(
            range.clone().step_by(COLUMNS).map(|start| Row::Cells(start..(start + COLUMNS).min(range.end))),
        );
    }
    let holds = |row: &Row| matches!(row, Row::Cells(range) if range.contains(&board.selected));
    let at = rows.iter().position(holds).unwrap_or(0);
    // Where not all rows fit, the last one tells of the others; the one that is looked at is always shown.
    let height = area.height as usize;
    let page = if rows.len() > height && height > 1 { height - 1 } else { height };
    let first = (at + 2).saturating_sub(page.max(1)).min(rows.len().saturating_sub(page));
    if page < height {
        let of = |sign, n| if n > 0 { format!(" {sign} {}", count(n, "row")) } else { String::new() };
        let more = of("▴", first) + &of("▾", rows.len() - page - first);
        put(&Line::from(span(more, theme.quiet())), area, page as u16, buf);
    }
    // On a narrow screen the cells touch.
    let apart = if area.width < BOARD { 1 } else { 2 };
    for (y, row) in (0..page as u16).zip(&rows[first..]) {
        match row {
            Row::Heading(wording, range) => {
                let line = told(*wording, board.counts(range.clone()));
                put(
                    &Line::from(span(
                        format!(" {}", cut(&line, BOARD.min(area.width) as usize - 2)),
                        theme.quiet(),
                    )),
                    area,
                    y,
                    buf,
                );
            }
            Row::Cells(range) => {
                for (i, cell) in range.clone().enumerate() {
                    let (sign, style) = look(board.standing(cell), theme);
                    let x = area.x + 1 + apart * i as u16;
                    if x >= area.right() {
                        break;
                    }
                    let selected = cell == board.selected;
                    let style = if selected { style.add_modifier(Modifier::REVERSED) } else { style };
                    buf.set_string(x, area.y + y, sign, style);
                }
            }
        }
    }
}

/// The fact that is looked at: what it says, where, how it is asked, and how likely its answer was.
fn about(app: &App, board: &Board, (theme, area): (&Theme, Rect), buf: &mut Buffer) {
    let Some(cell) = board.cells.as_deref().and_then(|cells| cells.get(board.selected)) else { return };
    let width = area.width as usize;
    let history = board.history(board.selected);
    let mut lines: Vec<(String, Style)> = Vec::new();
    let mut add = |text: &str, style| lines.extend(wrap(text, width).into_iter().map(|line| (line, style)));
    add(&cell.question, theme.strong());
    add(&format!("answer  {}", cell.answer), theme.contender(Contender::Tuned));
    let likely = match history.last() {
        Some((step, p)) => format!("probability {:.1} % at step {step}", p * 100.0),
        None => "not read yet".to_owned(),
    };
    add(&likely, theme.text());
    if history.len() > 1 {
        let first = history[0].0;
        add(&format!("{}  from step {first} on", spark(history, width.saturating_sub(20))), theme.valid());
    }
    if let Some(asked) = asked_about(app, board) {
        // Beside the board there is room for more than a line each.
        let n_lines = if area.height > BELOW_WITH_ANSWERS { ANSWER_LINES } else { 1 };
        for contender in Contender::ALL {
            let Some(side) = asked.everybody().find(|side| side.contender == contender) else { continue };
            let sign = match &side.verdict {
                Some(verdict) if verdict.right => "✓ ",
                Some(_) => "✗ ",
                None => "",
            };
            let before = if side.run_before { ", run before" } else { "" };
            let said = format!("{sign}{}{before}  {}", contender.name(), said(side));
            let folded = wrap(&said, width);
            let cut_off = folded.len() > n_lines;
            for (i, line) in folded.into_iter().take(n_lines).enumerate() {
                let is_cut = cut_off && i + 1 == n_lines;
                let line =
                    if is_cut { cut(&format!("{line} and more"), width.min(line.width() + 2)) } else { line };
                add(&line, theme.contender(contender));
            }
        }
    }
    let wording = cell.wording.name().replace('_', "-");
    add(&format!("{wording} wording of {}, in {}", cell.fact, cell.documents.join(", ")), theme.quiet());
    if !cell.statement.is_empty() {
        add(&format!("“{}”", cell.statement), theme.quiet());
    }
    let n_lines = area.height as usize;
    for (row, (i, (line, style))) in (0..area.height).zip(lines.iter().enumerate()) {
        let is_cut = i + 1 == n_lines && lines.len() > n_lines;
        let line =
            if is_cut { cut(&format!("{line} and more"), width.min(line.width() + 2)) } else { line.clone() };
        put(&Line::from(span(line, *style)), area, row, buf);
    }
}

/// The newest question that is the cell's, if it was asked.
fn asked_about<'a>(app: &'a App, board: &Board) -> Option<&'a Asked> {
    let cell = board.cells.as_deref()?.get(board.selected)?;
    app.asked.iter().rev().find(|asked| asked.question == cell.question)
}

/// What a contender has said so far.
fn said(side: &Side) -> String {
    match &side.progress {
        Progress::Waiting | Progress::Reading if side.text.is_empty() => "…".to_owned(),
        Progress::Failed(cause) => cause.clone(),
        _ => side.text.split_whitespace().collect::<Vec<_>>().join(" "),
    }
}

/// The probabilities one after the other, as little bars: the last `width` of them.
fn spark(history: &[(usize, f32)], width: usize) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let bar = |(_, p): &(usize, f32)| BARS[((p.clamp(0.0, 1.0) * 7.0).round() as usize).min(7)];
    history[history.len().saturating_sub(width.max(1))..].iter().map(bar).collect()
}
