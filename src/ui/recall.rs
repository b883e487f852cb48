//! How much of what was asked is answered?

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::Line;
use ratatui::widgets::Widget;

use super::axis::Axis;
use super::chart::{Chart, Percent, label_room, name_level};
use super::perplexity::explain;
use super::raster::{Raster, Stroke};
use super::text::{bar, put, rule, rule_with, span};
use super::theme::Theme;
use crate::app::words::percent;
use crate::app::{App, Run};
use crate::corpus::Wording;
use crate::lab::Contender;
use crate::train::Recall;

/// One line: the present recall of trained and unseen wordings, beside base + RAG and base.
pub(super) struct RecallStrip<'a> {
    pub(super) app: &'a App,
    pub(super) theme: &'a Theme,
}

/// Cells of a share, and of one with the number of questions it is a share of.
const SHARE: usize = 5;
const SHARE_OF: usize = 11;

/// What the strip has room for. It depends on the width alone, so nothing moves when a number gets longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Room {
    /// Cells of a bar; none where the values need them.
    bars: usize,
    gap: usize,
    /// Cells of a share that may still move.
    share_of: usize,
    /// How base + RAG is called.
    base_rag: &'static str,
}

impl Room {
    /// The bars go first, then how many were asked, then the gaps, then the longer name.
    fn of(width: usize) -> Self {
        let taken = |room: &Self| {
            let names = ["trained", "unseen", room.base_rag, "base"].map(|name| name.len() + 1);
            names.iter().sum::<usize>() + 2 * (SHARE + room.share_of) + 3 * room.gap
        };
        let widest = Self { bars: 0, gap: 3, share_of: SHARE_OF, base_rag: "base + RAG" };
        let tight = Self { share_of: SHARE, ..widest };
        let narrow = [1, 2].map(|gap| Self { gap, ..tight });
        let least = Self { gap: 1, base_rag: "RAG", ..tight };
        let all = [widest, tight, narrow[1], narrow[0]];
        let room = all.into_iter().find(|room| taken(room) <= width).unwrap_or(least);
        let bars = match (width.saturating_sub(taken(&room)) / 4).saturating_sub(1).min(20) {
            bars if bars >= 4 && room == widest => bars,
            _ => 0,
        };
        Self { bars, ..room }
    }
}

/// One part of the strip.
struct Entry {
    name: &'static str,
    recall: Option<Recall>,
    style: Style,
    /// Whether it is measured as a whole, or still moves.
    is_whole: bool,
    /// Cells of its value.
    width: usize,
}

impl Entry {
    /// `75 %`; what still moves says of how many.
    fn value(&self) -> String {
        let width = self.width;
        let Some(recall) = self.recall else {
            return format!("{:>SHARE$}{}", "– ", " ".repeat(width - SHARE));
        };
        let share = format!("{:>SHARE$}", percent(recall.share()));
        let text = match (self.is_whole, width) {
            (true, _) => share,
            (false, SHARE_OF) => format!("{share} of {}", recall.n),
            (false, _) => format!("{:>SHARE$}", format!("{}/{}", recall.n_right, recall.n)),
        };
        format!("{text:<width$}")
    }
}

impl RecallStrip<'_> {
    fn entries(&self, room: Room) -> [Entry; 4] {
        let (app, theme) = (self.app, self.theme);
        let own = |name, wording, style| {
            let recalled = app.run.as_ref().and_then(|run| run.recalled.get(&wording));
            let recall = recalled.copied().filter(|recall| recall.n > 0);
            Entry { name, recall, style, is_whole: true, width: SHARE }
        };
        let other = |name, contender| {
            let recall = app.rival(contender);
            let is_whole = recall.is_some_and(|recall| app.is_whole(recall));
            Entry { name, recall, style: theme.contender(contender), is_whole, width: room.share_of }
        };
        [
            own("trained", Wording::Trained, theme.train()),
            own("unseen", Wording::Unseen, theme.valid()),
            other(room.base_rag, Contender::BaseRag),
            other("base", Contender::Base),
        ]
    }
}

impl Widget for RecallStrip<'_> {
    fn render(self, area: Rect, buf: &mut Buffer) {
        let theme = self.theme;
        let inner = Rect { x: area.x + 11, width: area.width.saturating_sub(11), ..area };
        let room = Room::of(inner.width.saturating_sub(1) as usize);
        let mut spans = Vec::new();
        let entries = self.entries(room);
        for (i, entry) in entries.iter().enumerate() {
            let style = if entry.recall.is_some() { entry.style } else { theme.quiet() };
            if i > 0 {
                spans.push(span(" ".repeat(room.gap), style));
            }
            spans.push(span(format!("{} ", entry.name), style));
            if room.bars > 0 {
                let (full, empty) = bar(entry.recall.map_or(0.0, Recall::share), room.bars);
                spans.extend([span(full, style), span(empty, theme.faint()), span(" ", style)]);
            }
            let value = entry.value();
            // The rule goes on behind the last one.
            spans.push(span(if i == entries.len() - 1 { value.trim_end() } else { &value }, style));
        }
        spans.push(span(" ", theme.faint()));
        let title = Line::from(vec![span(" recall  ", theme.quiet())]);
        rule(&title, &Line::default(), (area, theme.faint()), buf);
        put(&Line::from(spans), inner, 0, buf);
    }
}

/// Recall of trained and unseen wordings against optimizer steps.
pub(super) struct RecallChart<'a> {
    pub(super) app: &'a App,
    pub(super) theme: &'a Theme,
}

impl Widget for RecallChart<'_> {
    fn render(self, area: Rect, buf: &mut Buffer) {
        if area.height < 3 {
            return;
        }
        let theme = self.theme;
        let latest = |wording| {
            let series = self.app.run.as_ref().and_then(|run| run.recall.get(&wording));
            series.and_then(super::super::app::Series::last).map_or("–".to_owned(), percent)
        };
        let (trained, unseen) = (latest(Wording::Trained), latest(Wording::Unseen));
        let names = [
            [" ▲ trained ", "  ● unseen ", " "],
            [" ▲ trained ", " ● unseen ", " "],
            [" trained ", " unseen ", " "],
            [" ▲ ", " ● ", " "],
        ];
        let lengths = names.map(|[of_trained, of_unseen, end]| {
            Line::from(vec![
                span(of_trained, theme.train()),
                span(format!("{trained:>5}"), theme.train()),
                span(of_unseen, theme.valid()),
                span(format!("{unseen:>5}{end}"), theme.valid()),
            ])
        });
        let title = super::pane_title("recall", theme.valid(), false);
        rule_with(&title, &lengths, (Rect { height: 1, ..area }, theme.rule(false)), buf);
        let area = Rect { y: area.y + 1, height: area.height - 1, ..area };
        match &self.app.run {
            Some(run) if !run.recall.is_empty() => self.curves(run, area, buf),
            _ => explain(
                "All through a run the model is asked about the corpus, in wordings it was trained on \
                 and in wordings it never saw. Only the second shows that a fact went in.",
                theme,
                area,
                buf,
            ),
        }
    }
}

impl RecallChart<'_> {
    fn curves(&self, run: &Run, area: Rect, buf: &mut Buffer) {
        let theme = self.theme;
        let (n_x, _) = label_room(area);
        let y = Axis { low: 0.0, high: 1.0, ticks: vec![0.0, 0.5, 1.0] };
        let chart = Chart { x: Axis::steps(run.step(), run.n_steps, n_x), y, percent: Percent::Yes, theme };
        let field = chart.axes(area, buf);
        if field.is_empty() {
            return;
        }
        let mut raster = Raster::new(field);
        let rag = self.app.rival(Contender::BaseRag);
        let rag = rag.map(|rag| (rag, chart.y.at(rag.share()), theme.contender(Contender::BaseRag)));
        if let Some((_, level, style)) = rag {
            raster.line((0.0, level), (1.0, level), Stroke { dash: (2, 2), ..Stroke::behind(style) });
        }
        let curves = [(Wording::Trained, "▲", theme.train()), (Wording::Unseen, "●", theme.valid())];
        for (wording, _, style) in curves {
            if let Some(series) = run.recall.get(&wording) {
                chart.curve(series, Stroke::solid(style), &mut raster);
            }
        }
        raster.render(theme.glyphs, buf);
        for (wording, marker, style) in curves {
            if let Some(series) = run.recall.get(&wording) {
                chart.markers(series, (marker, style), buf, &raster);
            }
        }
        if let Some((rag, level, style)) = rag {
            let asked = if self.app.is_whole(rag) { String::new() } else { format!(", of {}", rag.n) };
            name_level((&format!("base + RAG{asked}"), style), level, buf, &raster);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bars_go_before_a_value_does() {
        let at = |screen: usize| Room::of(screen - 12);
        assert_eq!((at(200).bars, at(120).bars, at(103).bars), (20, 8, 0));
        assert_eq!((at(103).share_of, at(80).share_of, at(80).gap), (SHARE_OF, SHARE, 3));
        assert_eq!((at(72).base_rag, at(60).base_rag, at(60).gap), ("base + RAG", "RAG", 1));
    }

    #[test]
    fn a_share_that_still_moves_says_of_how_many() {
        let value = |n_right, n, is_whole, width| {
            let recall = Some(Recall { n_right, n });
            Entry { name: "base", recall, style: Style::new(), is_whole, width }.value()
        };
        assert_eq!(value(3, 4, false, SHARE_OF), " 75 % of 4 ");
        assert_eq!(value(33, 44, false, SHARE), "33/44");
        assert_eq!(value(36, 48, true, SHARE_OF), " 75 %      ");
    }
}
