//! How much of what was asked is answered?

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::Line;
use ratatui::widgets::Widget;

use super::axis::Axis;
use super::chart::{Chart, Percent, label_room};
use super::perplexity::explain;
use super::raster::{Raster, Stroke};
use super::text::{bar, put, rule, span};
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

impl RecallStrip<'_> {
    fn entries(&self) -> [(&'static str, Option<f64>, Style); 4] {
        let theme = self.theme;
        let recall = |wording| {
            let recalled = self.app.run.as_ref().and_then(|run| run.recalled.get(&wording));
            recalled.filter(|recall| recall.n > 0).map(|recall| recall.share())
        };
        let other = |contender| self.app.rival(contender).map(Recall::share);
        [
            ("trained", recall(Wording::Trained), theme.train()),
            ("unseen", recall(Wording::Unseen), theme.valid()),
            ("base + RAG", other(Contender::BaseRag), theme.contender(Contender::BaseRag)),
            ("base", other(Contender::Base), theme.contender(Contender::Base)),
        ]
    }
}

impl Widget for RecallStrip<'_> {
    fn render(self, area: Rect, buf: &mut Buffer) {
        let theme = self.theme;
        let bars = match area.width {
            0..=89 => 0,
            90..=159 => 10,
            _ => 20,
        };
        let mut spans = vec![span(" ", theme.faint())];
        for (name, share, style) in self.entries() {
            spans.push(span(format!("{name} "), if share.is_some() { style } else { theme.quiet() }));
            if bars > 0 {
                let (full, empty) = bar(share.unwrap_or(0.0), bars);
                spans.extend([span(full, style), span(empty, theme.faint()), span(" ", style)]);
            }
            let value = share.map_or("  – ".to_owned(), percent);
            spans.push(span(format!("{value:>5}   "), if share.is_some() { style } else { theme.quiet() }));
        }
        let title = Line::from(vec![span(" recall ", theme.quiet())]);
        rule(&title, &Line::default(), (area, theme.faint()), buf);
        let inner = Rect { x: area.x + 10, width: area.width.saturating_sub(11), ..area };
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
        let spans = vec![
            span(" ▲ trained ", theme.train()),
            span(format!("{:>5}", latest(Wording::Trained)), theme.train()),
            span("  ● unseen ", theme.valid()),
            span(format!("{:>5} ", latest(Wording::Unseen)), theme.valid()),
        ];
        let title = super::pane_title("recall", theme.valid(), false);
        rule(&title, &Line::from(spans), (Rect { height: 1, ..area }, theme.rule(false)), buf);
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
        if let Some(rag) = self.app.rival(Contender::BaseRag) {
            let level = chart.y.at(rag.share());
            let style = theme.contender(Contender::BaseRag);
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
    }
}
