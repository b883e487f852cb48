//! Where does everything in a picture go?
//!
//! From above: title and run, what is counted, the legend (as many rows as it needs), the field of the
//! curves, the steps or sizes.

use plotters::prelude::DrawingBackend;

use super::axis::Axis;
use super::pen::{Pen, Place, Side};
use super::{Along, Chart, Curve, Ink, Line, Scale};
use crate::error::Result;

/// Room around everything.
const MARGIN: f64 = 48.0;
const TITLE: f64 = 58.0;
const LETTERS: f64 = 36.0;
const SMALL: f64 = 32.0;
/// From one row of the legend to the next.
const ROW: f64 = 52.0;
/// The piece of a curve in the legend, and the gaps after it and after the whole entry.
const SAMPLE: f64 = 60.0;
const GAP: f64 = 16.0;
const APART: f64 = 48.0;
/// Labels on the step axis at most, beside 0.
const N_STEPS: usize = 6;
/// Of a marker.
const RADIUS: f64 = 9.0;
/// Between two markers of one curve at least.
const SPACING: f64 = 34.0;
/// Lengths of a dash.
const DASH: f64 = 16.0;

/// The field of the curves, with its axes.
struct Field {
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
    x: Axis,
    y: Axis,
}

impl Field {
    /// The place of something `x` and `y` of the way along the axes.
    fn place(&self, (x, y): Place) -> Place {
        (self.left + x * (self.right - self.left), self.bottom - y * (self.bottom - self.top))
    }
}

/// Draws the chart.
pub(super) fn draw<DB: DrawingBackend>(chart: &Chart, pen: &Pen<'_, DB>) -> Result<()> {
    pen.fill(Ink::Ground)?;
    let below = heading(chart, pen)?;
    let below = legend(&chart.curves, below, pen)?;
    if chart.is_empty() {
        let (width, height) = pen.size();
        let middle = (width / 2.0, f64::midpoint(below, height));
        return pen.text(&chart.remark, middle, Side::Middle, (Ink::Quiet, LETTERS));
    }
    let field = axes(chart, below, pen)?;
    chart.curves.iter().try_for_each(|curve| draw_line(curve, &field, pen))?;
    chart.curves.iter().try_for_each(|curve| draw_markers(curve, &field, pen))
}

/// Title, run and unit. Returns where they end.
fn heading<DB: DrawingBackend>(chart: &Chart, pen: &Pen<'_, DB>) -> Result<f64> {
    let (width, _) = pen.size();
    let line = MARGIN + TITLE / 2.0;
    pen.text(&chart.title, (MARGIN, line), Side::Right, (Ink::Text, TITLE))?;
    let taken = pen.width(&chart.title, TITLE)? + pen.width(&chart.run, SMALL)? + APART;
    if taken <= width - 2.0 * MARGIN {
        pen.text(&chart.run, (width - MARGIN, line), Side::Left, (Ink::Quiet, SMALL))?;
    }
    let line = line + TITLE / 2.0 + SMALL;
    pen.text(&chart.unit, (MARGIN, line), Side::Right, (Ink::Quiet, SMALL))?;
    Ok(line + SMALL / 2.0)
}

/// The legend, with the present values. Returns where it ends.
fn legend<DB: DrawingBackend>(curves: &[Curve], below: f64, pen: &Pen<'_, DB>) -> Result<f64> {
    let (width, _) = pen.size();
    let (mut x, mut y) = (MARGIN, below + 18.0 + ROW / 2.0);
    for curve in curves.iter().rev().filter(|curve| !curve.points.is_empty()) {
        let name_width = pen.width(&curve.name, LETTERS)?;
        let value_width =
            if curve.value.is_empty() { 0.0 } else { GAP + pen.width(&curve.value, LETTERS)? };
        let whole = SAMPLE + GAP + name_width + value_width;
        if x > MARGIN && x + whole > width - MARGIN {
            (x, y) = (MARGIN, y + ROW);
        }
        let (from, to) = ((x, y), (x + SAMPLE, y));
        match curve.line {
            Line::Dashed => pen.dashes((from, to), SAMPLE / 5.0, stroke(curve))?,
            _ => pen.line(&[from, to], stroke(curve))?,
        }
        if let Some(marker) = curve.marker {
            pen.marker(marker, (x + SAMPLE / 2.0, y), (curve.ink, RADIUS * 1.2))?;
        }
        let at = x + SAMPLE + GAP;
        pen.text(&curve.name, (at, y), Side::Right, (Ink::Text, LETTERS))?;
        pen.text(&curve.value, (at + name_width + GAP, y), Side::Right, (curve.ink, LETTERS))?;
        x += whole + APART;
    }
    Ok(y + ROW / 2.0)
}

/// Grid, axes and their labels.
fn axes<DB: DrawingBackend>(chart: &Chart, below: f64, pen: &Pen<'_, DB>) -> Result<Field> {
    let (width, height) = pen.size();
    let y = Axis::of(chart.scale);
    let mut label_width: f64 = 0.0;
    for (_, label) in &y.ticks {
        label_width = label_width.max(pen.width(label, SMALL)?);
    }
    let left = MARGIN + label_width + GAP;
    let (right, bottom) = (width - MARGIN - GAP, height - MARGIN - 2.0 * SMALL - GAP);
    let (x, counted) = match &chart.along {
        Along::Steps { last } => {
            let step_width = pen.width(&crate::app::words::thousands(*last as u64), SMALL)? + APART;
            (Axis::steps(*last, (((right - left) / step_width) as usize).min(N_STEPS)), "step")
        }
        Along::Sizes { what, low, high } => (Axis::of(Scale::Log { low: *low, high: *high }), what.as_str()),
    };
    let field = Field { left, right, top: below + 24.0, bottom, x, y };
    for (value, label) in &field.y.ticks {
        let level = field.y.at(*value);
        let (from, to) = (field.place((0.0, level)), field.place((1.0, level)));
        pen.line(&[from, to], (Ink::Faint, 1))?;
        pen.text(label, (left - GAP, from.1), Side::Left, (Ink::Quiet, SMALL))?;
    }
    pen.line(&[field.place((0.0, 0.0)), field.place((1.0, 0.0))], (Ink::Quiet, 2))?;
    let line = bottom + GAP + SMALL / 2.0;
    for (value, label) in &field.x.ticks {
        let (x, y) = field.place((field.x.at(*value), 0.0));
        pen.line(&[(x, y), (x, y + GAP / 2.0)], (Ink::Quiet, 2))?;
        pen.text(label, (x, line), Side::Middle, (Ink::Quiet, SMALL))?;
    }
    pen.text(counted, (right, line + SMALL + 4.0), Side::Left, (Ink::Quiet, SMALL))?;
    Ok(field)
}

fn stroke(curve: &Curve) -> (Ink, u32) {
    let width = match curve.line {
        Line::Thin => 3,
        Line::Thick => 6,
        Line::Dashed => 4,
    };
    (curve.ink, width)
}

fn draw_line<DB: DrawingBackend>(curve: &Curve, field: &Field, pen: &Pen<'_, DB>) -> Result<()> {
    let places: Vec<Place> = curve.points.iter().map(|(x, y)| (field.x.at(*x), field.y.at(*y))).collect();
    for piece in inside(&places) {
        let piece: Vec<Place> = piece.iter().map(|place| field.place(*place)).collect();
        match curve.line {
            Line::Dashed => {
                piece.windows(2).try_for_each(|pair| pen.dashes((pair[0], pair[1]), DASH, stroke(curve)))?;
            }
            _ => pen.line(&piece, stroke(curve))?,
        }
    }
    Ok(())
}

/// Markers on the points, as many as have room; the last one always.
fn draw_markers<DB: DrawingBackend>(curve: &Curve, field: &Field, pen: &Pen<'_, DB>) -> Result<()> {
    let Some(marker) = curve.marker else { return Ok(()) };
    let mut free = f64::INFINITY;
    for (x, y) in curve.points.iter().rev() {
        let place = (field.x.at(*x), field.y.at(*y));
        let (x, y) = field.place(place);
        if x <= free && (0.0..=1.0).contains(&place.1) {
            pen.marker(marker, (x, y), (curve.ink, RADIUS))?;
            free = x - SPACING;
        }
    }
    Ok(())
}

/// The pieces of a line below the upper edge, which is at 1: it is cut where it crosses it.
fn inside(places: &[Place]) -> Vec<Vec<Place>> {
    let mut pieces: Vec<Vec<Place>> = Vec::new();
    let mut piece: Vec<Place> = Vec::new();
    let mut before: Option<Place> = None;
    for &(x, y) in places {
        let crossing = before
            .filter(|before| (before.1 > 1.0) != (y > 1.0))
            .map(|(x0, y0)| (x0 + (x - x0) * (1.0 - y0) / (y - y0), 1.0));
        piece.extend(crossing);
        if y > 1.0 {
            pieces.extend(Some(std::mem::take(&mut piece)).filter(|piece| piece.len() > 1));
        } else {
            piece.push((x, y));
        }
        before = Some((x, y));
    }
    pieces.extend(Some(piece).filter(|piece| piece.len() > 1));
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_cut_where_it_leaves_and_comes_back() {
        let pieces = inside(&[(0.0, 0.5), (0.2, 1.5), (0.4, 0.5), (0.6, 3.0), (0.8, 2.0)]);
        assert_eq!(pieces.len(), 2);
        assert_eq!(pieces[0], [(0.0, 0.5), (0.1, 1.0)]);
        assert_eq!(pieces[1].len(), 3);
        assert!((pieces[1][0].0 - 0.3).abs() < 1e-9 && (pieces[1][2].0 - 0.44).abs() < 1e-9);
        assert!(pieces.iter().flatten().all(|(_, y)| *y <= 1.0));
        assert!(inside(&[(0.0, 2.0), (1.0, 3.0)]).is_empty());
        assert!(inside(&[(0.5, 0.5)]).is_empty());
    }
}
