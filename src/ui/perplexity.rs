//! How hard are held-out questions and general text, before and now?

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::Line;
use ratatui::widgets::Widget;

use super::axis::Axis;
use super::chart::{Chart, Percent, label_room, name_level};
use super::raster::{Raster, Stroke};
use super::text::{put, rule_with, span, wrap};
use super::theme::Theme;
use crate::app::words::short;
use crate::app::{App, Pane, Run};

/// Perplexity of the corpus and of general text against optimizer steps.
pub(super) struct PerplexityChart<'a> {
    pub(super) app: &'a App,
    pub(super) theme: &'a Theme,
}

impl Widget for PerplexityChart<'_> {
    fn render(self, area: Rect, buf: &mut Buffer) {
        if area.height < 3 {
            return;
        }
        self.title(Rect { height: 1, ..area }, buf);
        let area = Rect { y: area.y + 1, height: area.height - 1, ..area };
        match &self.app.run {
            Some(run) if !run.general.is_empty() => self.curves(run, area, buf),
            _ => explain(
                "Perplexity is measured all through a run: on held-out questions about the corpus, \
                 which should fall, and on general text, which should not rise. Where it rises, the \
                 model is forgetting.",
                self.theme,
                area,
                buf,
            ),
        }
    }
}

impl PerplexityChart<'_> {
    fn title(&self, area: Rect, buf: &mut Buffer) {
        let theme = self.theme;
        let focused = self.app.focus == Pane::Perplexity && !self.app.editing;
        let title = super::pane_title("perplexity", theme.general(), focused);
        let run = self.app.run.as_ref();
        let value = |value: Option<f64>| value.map_or("–".to_owned(), short);
        let corpus = format!("{:<5}", value(run.and_then(|run| run.corpus.last())));
        let general = format!("{:<5}", value(run.and_then(|run| run.general.last())));
        let names = [
            [" ● corpus ", "  ▼ general "],
            [" ● corpus ", " ▼ general "],
            [" corpus ", " general "],
            [" ● ", " ▼ "],
        ];
        let lengths = names.map(|[of_corpus, of_general]| {
            Line::from(vec![
                span(of_corpus, theme.valid()),
                span(corpus.clone(), theme.valid()),
                span(of_general, theme.general()),
                span(general.clone(), theme.general()),
            ])
        });
        rule_with(&title, &lengths, (area, theme.rule(focused)), buf);
    }

    fn curves(&self, run: &Run, area: Rect, buf: &mut Buffer) {
        let theme = self.theme;
        let before = run.general.first().unwrap_or(1.0);
        let general = run.general.highest().unwrap_or(before);
        // The corpus may start far above: it comes in from the top rather than flatten the rest.
        let corpus = run.corpus.highest().unwrap_or(0.0).min(before * 2.0);
        let (n_x, n_y) = label_room(area);
        let chart = Chart {
            x: Axis::steps(run.step(), run.n_steps, n_x),
            y: Axis::from_zero((general * 1.1).max(corpus), n_y),
            percent: Percent::No,
            theme,
        };
        let field = chart.axes(area, buf);
        if field.is_empty() {
            return;
        }
        let mut raster = Raster::new(field);
        let level = chart.y.at(before);
        let dashed = Stroke { dash: (2, 2), ..Stroke::behind(theme.quiet()) };
        raster.line((0.0, level), (1.0, level), dashed);
        chart.curve(&run.corpus, Stroke::solid(theme.valid()), &mut raster);
        let stroke =
            if theme.is_mono() { Stroke::dashed(theme.general()) } else { Stroke::solid(theme.general()) };
        chart.curve(&run.general, stroke, &mut raster);
        raster.render(theme.glyphs, buf);
        chart.markers(&run.corpus, ("●", theme.valid()), buf, &raster);
        chart.markers(&run.general, ("▼", theme.general()), buf, &raster);
        name_level(("before training", theme.quiet()), level, buf, &raster);
    }
}

/// A remark in the place of a curve that is still to come.
pub(super) fn explain(remark: &str, theme: &Theme, area: Rect, buf: &mut Buffer) {
    let inner = Rect { x: area.x + 2, width: area.width.saturating_sub(4).min(64), ..area };
    let first = u16::from(area.height > 5);
    for (row, line) in (first..).zip(wrap(remark, inner.width as usize)) {
        put(&Line::from(span(line, theme.quiet())), inner, row, buf);
    }
}
