//! What does a run look like as a picture?
//!
//! A [`Chart`] is plain data: curves over the steps of a run, or over sizes. [`svg`] and [`write_png`] draw it, in the
//! lab's own colours, large enough for a room. Every text that may differ between charts stands where
//! it is measured first (title, legend, axes), never among the curves.

mod axis;
mod bitmap;
mod draw;
mod ink;
mod pen;

use std::path::Path;

use plotters::backend::SVGBackend;
use plotters::drawing::IntoDrawingArea;

use crate::error::{Error, Result};
use crate::files::write_whole;

pub use ink::Ink;
use pen::{Canvas, Pen};

/// A picture of curves.
#[derive(Debug, Clone, PartialEq)]
pub struct Chart {
    /// What it shows.
    pub title: String,
    /// Which run, or machine, it shows.
    pub run: String,
    /// What the vertical axis counts.
    pub unit: String,
    /// How the vertical axis runs.
    pub scale: Scale,
    /// The horizontal axis.
    pub along: Along,
    /// The curves, the lowest first: each covers those before it.
    pub curves: Vec<Curve>,
    /// What to say in the place of curves where there are none.
    pub remark: String,
}

/// What the horizontal axis counts.
#[derive(Debug, Clone, PartialEq)]
pub enum Along {
    /// Steps of a run, from 0 to the last.
    Steps {
        /// The last one.
        last: f64,
    },
    /// Sizes, by factors; both ends positive.
    Sizes {
        /// Of what.
        what: String,
        /// The smallest.
        low: f64,
        /// The largest.
        high: f64,
    },
}

/// One curve.
#[derive(Debug, Clone, PartialEq)]
pub struct Curve {
    /// Its name in the legend.
    pub name: String,
    /// Its present value, beside the name; may be empty.
    pub value: String,
    /// Its colour, by meaning.
    pub ink: Ink,
    /// How its line is drawn.
    pub line: Line,
    /// The sign on each of its points, if there is one.
    pub marker: Option<Marker>,
    /// (step or size, value), the smallest first. Values are finite.
    pub points: Vec<(f64, f64)>,
}

/// How a line is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line {
    /// Thin: what is behind the others.
    Thin,
    /// Thick.
    Thick,
    /// Dashed: a level to compare with.
    Dashed,
}

/// The sign on a point, so that curves differ without colours too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Marker {
    /// A dot.
    Dot,
    /// A triangle that points up.
    Up,
    /// A triangle that points down.
    Down,
    /// A square on its corner.
    Diamond,
    /// A square.
    Square,
}

/// How the vertical axis runs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Scale {
    /// From zero to a round number at or above `top`; what is higher leaves through the upper edge.
    FromZero {
        /// What must fit.
        top: f64,
    },
    /// By factors, from at or below `low` to at or above `high`; both positive.
    Log {
        /// The lowest value.
        low: f64,
        /// The highest value.
        high: f64,
    },
    /// From 0 % to 100 %.
    Share,
}

/// The form of a picture. Both have letters of the same size in pixels, so that the narrow one, shown
/// as wide as a telephone, can still be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// 1600 x 900, as slides are.
    Wide,
    /// 800 x 840.
    Narrow,
}

impl Shape {
    /// Width and height in pixels.
    pub fn size(self) -> (u32, u32) {
        match self {
            Self::Wide => (1600, 900),
            Self::Narrow => (800, 840),
        }
    }
}

/// The chart as an SVG document, in the colours of paper.
///
/// # Errors
/// When it cannot be drawn, which would be a fault of the program.
pub fn svg(chart: &Chart, shape: Shape) -> Result<String> {
    let mut text = String::new();
    let area = SVGBackend::with_string(&mut text, shape.size()).into_drawing_area();
    draw::draw(chart, &Pen::new(&area, Canvas::VECTOR)?)?;
    area.present().map_err(fault)?;
    drop(area);
    let opening =
        format!("<svg role=\"img\" aria-label=\"{}\" stroke-linejoin=\"round\" ", escaped(&chart.told()));
    Ok(text.replacen("<svg ", &opening, 1))
}

/// Writes the chart, wide, as `path`, a PNG.
///
/// # Errors
/// When the file cannot be written, or the chart cannot be drawn.
pub fn write_png(chart: &Chart, path: &Path) -> Result<()> {
    write_whole(path, &bitmap::png(chart, path)?)
}

impl Chart {
    /// What it shows, in words: for those who cannot see it.
    pub fn told(&self) -> String {
        let values: Vec<String> = self
            .curves
            .iter()
            .filter(|curve| !curve.value.is_empty())
            .map(|curve| format!("{} {}", curve.name, curve.value))
            .collect();
        let values = if values.is_empty() { self.remark.clone() } else { values.join(", ") };
        let over = match &self.along {
            Along::Steps { .. } => "steps",
            Along::Sizes { what, .. } => what,
        };
        format!("{} over {over}: {values}", self.title)
    }

    /// Whether there is no curve to draw.
    pub fn is_empty(&self) -> bool {
        self.curves.iter().all(|curve| curve.points.is_empty())
    }
}

/// Text for an attribute.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}

/// What the drawing library complains of.
fn fault(cause: impl std::fmt::Display) -> Error {
    Error::refused(format!("the chart cannot be drawn: {cause}"), "report this as a fault")
}

#[cfg(test)]
mod tests;
