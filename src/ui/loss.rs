//! How does the loss fall?

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::Line;
use ratatui::widgets::Widget;

use super::axis::Axis;
use super::chart::{Chart, Percent, label_room};
use super::raster::{Raster, Stroke};
use super::text::{cut, put, rule_with, span};
use super::theme::Theme;
use crate::app::words::short;
use crate::app::{App, Pane, Run};

/// Training and validation loss against optimizer steps.
pub(super) struct LossChart<'a> {
    pub(super) app: &'a App,
    pub(super) theme: &'a Theme,
    /// Where there is no chart of perplexity beside it, its value belongs to this title.
    pub(super) size: Size,
}

/// How much of the screen the chart has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Size {
    /// Its neighbours are there.
    Beside,
    /// It stands alone, small.
    Alone,
    /// It fills the screen.
    Zoomed,
}

impl Widget for LossChart<'_> {
    fn render(self, area: Rect, buf: &mut Buffer) {
        if area.height < 3 {
            return;
        }
        self.title(Rect { height: 1, ..area }, buf);
        let area = Rect { y: area.y + 1, height: area.height - 1, ..area };
        match &self.app.run {
            Some(run) if !run.loss.is_empty() || !run.valid.is_empty() => {
                let area = self.failure(run, area, buf);
                if self.size == Size::Zoomed && area.height >= 20 {
                    let upper = Rect { height: area.height * 3 / 5, ..area };
                    let lower =
                        Rect { y: upper.bottom() + 1, height: area.height - upper.height - 1, ..area };
                    self.whole(run, upper, buf);
                    self.recent(run, lower, buf);
                } else {
                    self.whole(run, area, buf);
                }
            }
            _ => super::start::render(self.app, self.theme, area, buf),
        }
    }
}

impl LossChart<'_> {
    fn title(&self, area: Rect, buf: &mut Buffer) {
        let theme = self.theme;
        let focused = self.app.focus == Pane::Loss && !self.app.editing;
        let title = super::pane_title("loss", theme.train(), focused);
        let run = self.app.run.as_ref();
        let value = |value: Option<f64>| value.map_or("–".to_owned(), short);
        let train = format!("{:<5}", value(run.and_then(|run| run.smooth.last())));
        let valid = format!("{:<5}", value(run.and_then(|run| run.valid.last())));
        let both = |names: [&'static str; 2]| {
            let of = |name, value: &String, style| [span(name, style), span(value.clone(), style)];
            [of(names[0], &train, theme.train()), of(names[1], &valid, theme.valid())].concat()
        };
        let long = both([" ━ train ", "  ● valid "]);
        let mut lengths = Vec::new();
        if self.size == Size::Alone {
            let general = format!("{:<5}", value(run.and_then(|run| run.general.last())));
            let before = format!("({} before) ", value(run.and_then(|run| run.general.first())));
            let with = |name, before: String| {
                let general = [span(name, theme.general()), span(general.clone(), theme.general())];
                Line::from([&long[..], &general, &[span(before, theme.quiet())]].concat())
            };
            lengths.push(with("  ▼ general ppl ", before));
            lengths.extend(["  ▼ general ppl ", "  ▼ general "].map(|name| with(name, String::new())));
        }
        lengths.push(Line::from(long));
        lengths.extend([[" ━ train ", " ● valid "], [" ━ ", " ● "]].map(|names| Line::from(both(names))));
        rule_with(&title, &lengths, (area, theme.rule(focused)), buf);
    }

    /// Says above the curves why the run failed, if it did; what is left for them.
    fn failure(&self, run: &Run, area: Rect, buf: &mut Buffer) -> Rect {
        let Some(cause) = run.failure() else { return area };
        let cause = cut(&format!("✗ {cause}"), (area.width as usize).saturating_sub(4));
        put(&Line::from(span(cause, self.theme.general())), Rect { x: area.x + 2, ..area }, 0, buf);
        Rect { y: area.y + 1, height: area.height - 1, ..area }
    }

    fn whole(&self, run: &Run, area: Rect, buf: &mut Buffer) {
        let (n_x, n_y) = label_room(area);
        // Early single steps may stick out; what counts is the smoothed curve and the validation.
        let tops = [run.smooth.highest(), run.valid.highest(), run.loss.first()];
        let top = tops.into_iter().flatten().fold(0.0, f64::max);
        let chart = Chart {
            x: Axis::steps(run.step(), run.n_steps, n_x),
            y: Axis::from_zero(top, n_y),
            percent: Percent::No,
            theme: self.theme,
        };
        let field = chart.axes(area, buf);
        if field.is_empty() {
            return;
        }
        let mut raster = Raster::new(field);
        let raw = self.raw_stroke();
        for stretch in run.loss.whole() {
            raster.line(chart.place(stretch.x, stretch.low), chart.place(stretch.x, stretch.high), raw);
        }
        chart.curve(&run.loss, raw, &mut raster);
        chart.curve(&run.smooth, Stroke::solid(self.theme.train()), &mut raster);
        chart.curve(&run.valid, self.valid_stroke(), &mut raster);
        raster.render(self.theme.glyphs, buf);
        chart.markers(&run.valid, ("●", self.theme.valid()), buf, &raster);
    }

    /// The loss step by step: faint, and thin where there are no colours.
    fn raw_stroke(&self) -> Stroke {
        let dash = if self.theme.is_mono() { (1, 2) } else { (1, 0) };
        Stroke { dash, ..Stroke::behind(self.theme.raw()) }
    }

    /// The validation loss: its points have markers, so its line may give way.
    fn valid_stroke(&self) -> Stroke {
        let dash = if self.theme.is_mono() { (2, 2) } else { (1, 0) };
        Stroke { dash, ..Stroke::under(self.theme.valid()) }
    }

    /// The newest steps alone, with a scale of their own.
    fn recent(&self, run: &Run, area: Rect, buf: &mut Buffer) {
        let theme = self.theme;
        let points: Vec<_> = run.loss.recent().collect();
        let (Some(first), Some(last)) = (points.first(), points.last()) else { return };
        let title = Line::from(span(format!("  the last {} steps", points.len()), theme.quiet()));
        put(&title, area, 0, buf);
        let area = Rect { y: area.y + 1, height: area.height.saturating_sub(1), ..area };
        let (n_x, n_y) = label_room(area);
        let top = points.iter().map(|point| point.high).fold(0.0, f64::max);
        let chart = Chart {
            x: Axis::last_steps(first.x, last.x, n_x),
            y: Axis::from_zero(top, n_y),
            percent: Percent::No,
            theme,
        };
        let field = chart.axes(area, buf);
        if field.is_empty() {
            return;
        }
        let mut raster = Raster::new(field);
        let from = first.x;
        raster.curve(points.iter().map(|p| chart.place(p.x, p.mean)), self.raw_stroke());
        let smooth = run.smooth.recent().filter(|p| p.x >= from).map(|p| chart.place(p.x, p.mean));
        raster.curve(smooth, Stroke::solid(theme.train()));
        let valid = run.valid.recent().filter(|p| p.x >= from).map(|p| chart.place(p.x, p.mean));
        raster.curve(valid, self.valid_stroke());
        raster.render(theme.glyphs, buf);
    }
}
