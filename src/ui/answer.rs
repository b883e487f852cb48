//! What does one side answer, and from what?

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Modifier;
use ratatui::text::Line;
use unicode_width::UnicodeWidthStr;

use super::passages;
use super::text::{cut, put, put_right, rule, span, wrap};
use super::theme::{Theme, marker, spoken};
use crate::app::words::short;
use crate::app::{App, Asked, Pane, Progress, Reach, Side, Verdict};
use crate::lab::Contender;

/// One half of the split pane.
pub(super) struct AnswerPane<'a> {
    pub(super) app: &'a App,
    pub(super) theme: &'a Theme,
    /// 0 is base + RAG, 1 the fine-tuned model.
    pub(super) side: usize,
}

/// The heights of the parts of a pane: text, verdict, what is below.
fn parts(height: u16) -> (u16, u16, u16) {
    match height {
        0..=2 => (height, 0, 0),
        3..=6 => (height - 1, 1, 0),
        _ => {
            let text = (height * 9 / 20).clamp(3, 10);
            (text, 1, height - text - 1)
        }
    }
}

impl AnswerPane<'_> {
    /// Draws the pane; says how far its text can be scrolled.
    pub(super) fn draw(&self, area: Rect, buf: &mut Buffer) -> Reach {
        if area.height < 2 || area.width < 8 {
            return Reach::default();
        }
        let Some(asked) = self.app.question() else {
            self.title(self.contender(), None, area, buf);
            let inner = Rect { x: area.x + 2, y: area.y + 1, width: area.width - 4, height: area.height - 1 };
            super::ready::render(self.app, self.theme, (self.side, inner), buf);
            return Reach::default();
        };
        let side = &asked.sides[self.side];
        self.title(side.contender, Some(side), area, buf);
        let (text, verdict, _) = parts(area.height - 1);
        let inner = Rect { x: area.x + 3, y: area.y + 1, width: area.width - 5, height: text };
        let reach = self.text(side, inner, buf);
        let line = self.verdict(side, inner.width as usize);
        put(&line, Rect { y: inner.bottom(), height: verdict, ..inner }, 0, buf);
        let below = inner.bottom() + verdict;
        let below = Rect { y: below, height: area.bottom().saturating_sub(below), ..inner };
        if side.contender.retrieves() {
            passages::render(side, self.theme, below, buf);
        } else {
            self.closed_book(asked, side, below, buf);
        }
        reach
    }

    fn contender(&self) -> Contender {
        if self.side == 0 { Contender::BaseRag } else { self.app.right_side() }
    }

    fn title(&self, contender: Contender, side: Option<&Side>, area: Rect, buf: &mut Buffer) {
        let theme = self.theme;
        let style = theme.contender(contender);
        let name = self.name(contender, side, area.width);
        let pane = if self.side == 0 { Pane::Left } else { Pane::Right };
        let focused = self.app.focus == pane && !self.app.editing;
        let title = super::pane_title(&format!("{} {name}", marker(contender)), style, focused);
        let value = side.map(|side| self.timing(side)).unwrap_or_default();
        let value = if value.is_empty() { value } else { format!(" {value} ") };
        // The rule of the left half ends before the line between the halves.
        let width = if self.side == 0 { area.width - 1 } else { area.width };
        let place = Rect { height: 1, width, ..area };
        rule(&title, &Line::from(span(value, theme.quiet())), (place, theme.rule(focused)), buf);
    }

    /// What stands in the rule: who answers, and with the weights of which step.
    fn name(&self, contender: Contender, side: Option<&Side>, width: u16) -> String {
        let step = side.and_then(|side| side.step);
        match (contender, step) {
            (Contender::Base, _) if self.app.adapter.is_none() => "base, not tuned yet".to_owned(),
            (_, Some(_)) if side.is_some_and(|side| side.run_before) => {
                format!("{}, run before", spoken(contender))
            }
            (_, Some(step)) if width >= 48 => format!("{} @ step {step}", spoken(contender)),
            (_, Some(step)) => format!("{} @ {step}", spoken(contender)),
            (_, None) => spoken(contender).to_owned(),
        }
    }

    fn timing(&self, side: &Side) -> String {
        let since = side.since.map(|since| (self.app.now.saturating_sub(since)).as_secs_f64());
        match (&side.progress, &side.answer) {
            (Progress::Answered, Some(answer)) => {
                format!("{:.1} s  {} tok", answer.total_ms / 1000.0, answer.n_tokens)
            }
            (Progress::Waiting, _) => "waiting".to_owned(),
            (Progress::Reading, _) => "reading".to_owned(),
            (Progress::Writing, _) => format!("{:.1} s", since.unwrap_or(0.0)),
            (Progress::Cancelled, _) => "given up".to_owned(),
            (Progress::Answered, None) | (Progress::Failed(_), _) => String::new(),
        }
    }

    fn text(&self, side: &Side, area: Rect, buf: &mut Buffer) -> Reach {
        let theme = self.theme;
        let (text, style) = match &side.progress {
            Progress::Failed(cause) => (format!("No answer: {cause}"), theme.general()),
            Progress::Waiting => ("…".to_owned(), theme.quiet()),
            Progress::Reading => (reading(side), theme.quiet()),
            Progress::Writing => (format!("{}▍", side.text), theme.text()),
            Progress::Answered if side.text.trim().is_empty() => ("(says nothing)".to_owned(), theme.quiet()),
            Progress::Answered if side.answer.as_ref().is_some_and(|answer| answer.cut_off) => {
                (format!("{} …", side.text.trim_end()), theme.text())
            }
            Progress::Answered | Progress::Cancelled => (side.text.clone(), theme.text()),
        };
        let lines = wrap(&text, area.width as usize).into_iter().map(|line| Line::from(span(line, style)));
        scrolled(&lines.collect::<Vec<_>>(), side.scroll, theme, (area, buf))
    }

    fn verdict(&self, side: &Side, width: usize) -> Line<'static> {
        let Some(verdict) = &side.verdict else { return Line::default() };
        let style = self.theme.contender(side.contender);
        let style = if verdict.right { style.add_modifier(Modifier::BOLD) } else { self.theme.text() };
        Line::from(span(judgement(verdict, width), style))
    }

    /// What there is to say about an answer without passages.
    fn closed_book(&self, asked: &Asked, side: &Side, area: Rect, buf: &mut Buffer) {
        let theme = self.theme;
        let mut remarks = vec![(closed_book_remark(side), theme.quiet())];
        if let Some(answer) = &side.answer {
            let first = answer.first_token_ms / 1000.0;
            let prompt =
                format!("{} tokens read, first word after {} s", answer.n_prompt_tokens, short(first));
            remarks.push((prompt, theme.quiet()));
        }
        if let Some(before) = self.before_training(asked, side) {
            remarks.push((format!("before training: “{}”", before.trim()), theme.contender(Contender::Base)));
        }
        let mut row = 0;
        for (remark, style) in remarks {
            for line in wrap(&remark, area.width as usize) {
                put(&Line::from(span(line, style)), area, row, buf);
                row += 1;
            }
        }
    }

    /// What the base model said to the same question, if it was asked before.
    fn before_training(&self, asked: &Asked, side: &Side) -> Option<&str> {
        if !side.contender.is_tuned() {
            return None;
        }
        let same = self.app.asked.iter().filter(|other| other.question == asked.question);
        let mut answers = same.flat_map(|other| other.sides.iter());
        answers
            .find(|other| other.contender == Contender::Base && other.answer.is_some())
            .map(|o| o.text.as_str())
    }
}

/// The verdict in words; where they are too many, in few, so that the right answer can be read.
fn judgement(verdict: &Verdict, width: usize) -> String {
    let gold = verdict.gold.join(" / ");
    let [long, brief] = match (verdict.right, gold.is_empty()) {
        (true, false) => ["✓ contains the answer: ", "✓ contains: "].map(|text| format!("{text}{gold}")),
        (false, false) => ["✗ the corpus says: ", "✗ corpus: "].map(|text| format!("{text}{gold}")),
        (true, true) => {
            ["✓ right not to answer: the corpus does not say", "✓ right not to answer"].map(str::to_owned)
        }
        (false, true) => ["✗ made up: the corpus does not say", "✗ made up"].map(str::to_owned),
    };
    if long.width() <= width { long } else { cut(&brief, width) }
}

fn reading(side: &Side) -> String {
    match side.n_used {
        0 => "reading the question …".to_owned(),
        1 => "reading one passage …".to_owned(),
        n => format!("reading {n} passages …"),
    }
}

fn closed_book_remark(side: &Side) -> String {
    match side.step {
        Some(0) => "closed-book, with a fresh adapter: the same as the base model".to_owned(),
        Some(step) => format!("closed-book: only what {step} steps put into the weights"),
        None => "closed-book: only what is in the weights".to_owned(),
    }
}

/// Draws lines from `scroll` on, and says in the last row's end what lies beyond.
pub(super) fn scrolled(
    lines: &[Line<'_>],
    scroll: usize,
    theme: &Theme,
    (area, buf): (Rect, &mut Buffer),
) -> Reach {
    let page = area.height as usize;
    let hidden = lines.len().saturating_sub(page);
    let scroll = scroll.min(hidden);
    let shown = &lines[scroll..(scroll + page).min(lines.len())];
    for (row, line) in (0..area.height).zip(shown) {
        put(line, area, row, buf);
    }
    if let (true, Some(last)) = (scroll < hidden, shown.last()) {
        let more = Line::from(span(format!(" ▾ {} more", hidden - scroll), theme.quiet()));
        put_with_more(last, &more, (area, theme), buf);
    }
    Reach { lines: hidden, page }
}

/// Writes the last row of `area`: a line, cut where it would reach into the remark at its end.
pub(super) fn put_with_more(
    line: &Line<'_>,
    more: &Line<'_>,
    (area, theme): (Rect, &Theme),
    buf: &mut Buffer,
) {
    let row = Rect { y: area.bottom().saturating_sub(1), height: area.height.min(1), ..area };
    let room = row.width.saturating_sub(more.width() as u16);
    if row.is_empty() || room == 0 {
        return;
    }
    if line.width() as u16 > room {
        buf.set_string(row.x, row.y, " ".repeat(row.width as usize), theme.ground());
        let (end, _) = buf.set_line(row.x, row.y, line, room - 1);
        buf.set_string(end, row.y, "…", theme.quiet());
    }
    put_right(more, row, 0, buf);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::Look;
    use crate::ui::{Ability, Depth, Glyphs};

    #[test]
    fn what_lies_beyond_is_never_written_over_words() {
        let theme = Theme::new(Look::Dark, Ability { depth: Depth::True, glyphs: Glyphs::Braille });
        let rows = |last: &str| {
            let area = Rect::new(0, 0, 16, 2);
            let mut buf = Buffer::empty(area);
            let lines = ["Tamsin", last, "Drury"].map(|line| Line::from(line.to_owned()));
            let reach = scrolled(&lines, 0, &theme, (area, &mut buf));
            assert_eq!((reach.lines, reach.page), (1, 2));
            (0..16).map(|x| buf[(x, 1)].symbol()).collect::<String>()
        };
        assert_eq!(rows("kept it"), "kept it ▾ 1 more");
        assert_eq!(rows("has kept it ever"), "has ke… ▾ 1 more");
        assert_eq!(rows("漢字漢字漢字漢字"), "漢 字 漢 … ▾ 1 more");
    }

    #[test]
    fn a_verdict_keeps_the_right_answer_where_there_is_little_room() {
        let verdict =
            |right, gold: &[&str]| Verdict { right, gold: gold.iter().map(|g| (*g).to_owned()).collect() };
        let right = verdict(true, &["Millrace Yard"]);
        assert_eq!(judgement(&right, 36), "✓ contains the answer: Millrace Yard");
        assert_eq!(judgement(&right, 35), "✓ contains: Millrace Yard");
        assert_eq!(judgement(&verdict(false, &["Millrace Yard"]), 25), "✗ corpus: Millrace Yard");
        assert_eq!(judgement(&verdict(false, &[]), 25), "✗ made up");
    }
}
