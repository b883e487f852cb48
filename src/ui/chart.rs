//! What do all charts share? Axes, their labels, and curves between them.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::Line;
use unicode_width::UnicodeWidthStr;

use super::axis::Axis;
use super::raster::{Raster, Stroke};
use super::text::{put_right, span};
use super::theme::Theme;
use crate::app::Series;

/// Cells left of the vertical axis.
const GUTTER: u16 = 5;

/// A pair of axes.
#[derive(Debug)]
pub(super) struct Chart<'a> {
    pub(super) x: Axis,
    pub(super) y: Axis,
    /// Says a value of the vertical axis in percent.
    pub(super) percent: Percent,
    pub(super) theme: &'a Theme,
}

/// How the vertical axis is labelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Percent {
    /// As it is.
    No,
    /// Shares as percent.
    Yes,
}

/// How many labels suit a plot of this size: (horizontal, vertical).
pub(super) fn label_room(area: Rect) -> (usize, usize) {
    ((area.width as usize / 14).clamp(2, 8), (area.height as usize / 4).clamp(2, 6))
}

impl Chart<'_> {
    /// Draws the axes into `area` and returns the field for the curves.
    pub(super) fn axes(&self, area: Rect, buf: &mut Buffer) -> Rect {
        let labels = u16::from(area.height >= 5);
        let field = Rect {
            x: area.x + GUTTER + 1,
            y: area.y,
            width: area.width.saturating_sub(GUTTER + 2),
            height: area.height.saturating_sub(1 + labels),
        };
        if field.is_empty() {
            return Rect::default();
        }
        let (faint, quiet) = (self.theme.faint(), self.theme.quiet());
        for y in field.top()..field.bottom() {
            buf.set_string(field.x - 1, y, "│", faint);
        }
        let floor = field.bottom();
        buf.set_string(field.x - 1, floor, "└", faint);
        buf.set_string(field.x, floor, "─".repeat(field.width as usize), faint);
        let raster = Raster::new(field);
        for tick in &self.y.ticks {
            let Some((_, y)) = raster.cell((0.0, self.y.at(*tick))) else { continue };
            // Zero lies on the floor itself.
            let (y, joint) = if *tick <= self.y.low { (floor, "┼") } else { (y, "┤") };
            buf.set_string(field.x - 1, y, joint, faint);
            let label = match self.percent {
                Percent::Yes => format!("{:.0} %", tick * 100.0),
                Percent::No => self.y.label(*tick),
            };
            put_right(&Line::from(span(label, quiet)), Rect { y, width: GUTTER, ..area }, 0, buf);
        }
        self.step_labels(field, labels, buf);
        field
    }

    fn step_labels(&self, field: Rect, rows: u16, buf: &mut Buffer) {
        let raster = Raster::new(field);
        for tick in self.x.ticks.iter().filter(|tick| **tick > self.x.low) {
            let Some((x, _)) = raster.cell((self.x.at(*tick), 0.0)) else { continue };
            buf.set_string(x, field.bottom(), "┴", self.theme.faint());
            if rows == 0 {
                continue;
            }
            let label = self.x.label(*tick);
            let start = x
                .saturating_sub(label.len() as u16 / 2)
                .min(field.right().saturating_sub(label.len() as u16));
            buf.set_string(start, field.bottom() + 1, label, self.theme.quiet());
        }
        if rows > 0 {
            let label = if self.x.low > 0.0 { "" } else { "0" };
            buf.set_string(field.x - 1, field.bottom() + 1, label, self.theme.quiet());
            // The unit stands between the first two labels, where there is always room.
            let second = self.x.ticks.iter().find(|tick| **tick > self.x.low);
            let room = second.map_or(0.0, |tick| self.x.at(*tick)) * f64::from(field.width);
            if room >= 12.0 {
                buf.set_string(field.x + 2, field.bottom() + 1, "step", self.theme.quiet());
            }
        }
    }

    /// The value `y` at step `x` as a place in the field.
    pub(super) fn place(&self, x: f64, y: f64) -> (f64, f64) {
        (self.x.at(x), self.y.at(y))
    }

    /// A curve through a whole series.
    pub(super) fn curve(&self, series: &Series, stroke: Stroke, raster: &mut Raster) {
        let points = series.whole().iter().map(|point| self.place(point.x, point.mean));
        raster.curve(points, stroke);
    }

    /// Markers on the points of a series: on each where they lie apart, else on the last.
    pub(super) fn markers(
        &self,
        series: &Series,
        (marker, style): (&str, Style),
        buf: &mut Buffer,
        raster: &Raster,
    ) {
        let mut before = None;
        let n = series.whole().len();
        for (i, point) in series.whole().iter().enumerate() {
            let Some((x, y)) = raster.cell(self.place(point.x, point.mean)) else { continue };
            if i + 1 < n && before.is_some_and(|before: u16| x < before + 4) {
                continue;
            }
            before = Some(x);
            buf.set_string(x, y, marker, style);
        }
    }
}

/// Names a level across the field: below or above it, at the end or the start, where nothing is drawn yet.
pub(super) fn name_level((name, style): (&str, Style), level: f64, buf: &mut Buffer, raster: &Raster) {
    let Some((left, y)) = raster.cell((0.0, level)) else { return };
    let Some((last, floor)) = raster.cell((1.0, 0.0)) else { return };
    let Some((_, top)) = raster.cell((0.0, 1.0)) else { return };
    let wide = name.width() as u16;
    if last <= left + wide {
        return;
    }
    let places = [last + 1 - wide, left + 1].map(|x| [(x, y + 1), (x, y.wrapping_sub(1))]);
    let is_free = |(x, y): &(u16, u16)| {
        (top..=floor).contains(y)
            && (*x..x + wide).all(|x| buf.cell((x, *y)).is_some_and(|cell| cell.symbol() == " "))
    };
    if let Some((x, y)) = places.concat().into_iter().find(is_free) {
        buf.set_string(x, y, name, style);
    }
}
