//! How does a mark get onto the canvas, whatever the canvas is made of?
//!
//! Everything is told in pixels of the finished picture, counted from the upper left corner; a bitmap
//! is drawn larger and made smaller afterwards.

use std::sync::OnceLock;

use plotters::coord::Shift;
use plotters::drawing::DrawingArea;
use plotters::element::{Circle, PathElement, Polygon, Rectangle};
use plotters::prelude::DrawingBackend;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color as _, FontStyle, IntoFont, RGBColor, ShapeStyle, TextStyle, register_font};

use super::{Ink, Marker, fault};
use crate::app::Look;
use crate::error::Result;

/// The name under which the font is known; in an SVG it names the reader's own.
const FAMILY: &str = "sans-serif";

static FONT: &[u8] = include_bytes!("../../assets/fonts/DejaVuSans-subset.ttf");

/// A place on the picture, in pixels.
pub(super) type Place = (f64, f64);

/// On which side of its place a text stands.
#[derive(Debug, Clone, Copy)]
pub(super) enum Side {
    Left,
    Middle,
    Right,
}

/// What a canvas is made of. The drawing library treats letters a little differently on each; the
/// numbers make up for that.
#[derive(Debug, Clone, Copy)]
pub(super) struct Canvas {
    /// Pixels of the canvas to one of the picture.
    scale: u32,
    /// What a letter's size is to be multiplied by.
    letters: f64,
    /// How far letters stand too high, as a share of their size.
    lift: f64,
}

impl Canvas {
    /// An SVG, whose letters come out smaller.
    pub(super) const VECTOR: Self = Self { scale: 1, letters: 1.065, lift: 0.0 };

    /// A bitmap of `scale` pixels, across and down, for each one of the picture.
    pub(super) fn bitmap(scale: u32) -> Self {
        Self { scale, letters: 1.0, lift: 0.14 }
    }
}

/// Draws on one canvas.
pub(super) struct Pen<'a, DB: DrawingBackend> {
    area: &'a DrawingArea<DB, Shift>,
    canvas: Canvas,
}

impl<'a, DB: DrawingBackend> Pen<'a, DB> {
    /// A pen for a canvas.
    pub(super) fn new(area: &'a DrawingArea<DB, Shift>, canvas: Canvas) -> Result<Self> {
        static REGISTERED: OnceLock<bool> = OnceLock::new();
        if !REGISTERED.get_or_init(|| register_font(FAMILY, FontStyle::Normal, FONT).is_ok()) {
            return Err(fault("the font is damaged"));
        }
        Ok(Self { area, canvas })
    }

    /// Width and height of the picture.
    pub(super) fn size(&self) -> Place {
        let (width, height) = self.area.dim_in_pixel();
        (f64::from(width / self.canvas.scale), f64::from(height / self.canvas.scale))
    }

    /// Covers everything.
    pub(super) fn fill(&self, ink: Ink) -> Result<()> {
        self.area.fill(&colour(ink)).map_err(fault)
    }

    /// A line through all `places`.
    pub(super) fn line(&self, places: &[Place], (ink, width): (Ink, u32)) -> Result<()> {
        if places.len() < 2 {
            return Ok(());
        }
        let style = ShapeStyle {
            color: colour(ink).to_rgba(),
            filled: false,
            stroke_width: width * self.canvas.scale,
        };
        let path: Vec<_> = places.iter().map(|place| self.at(*place)).collect();
        self.area.draw(&PathElement::new(path, style)).map_err(fault)
    }

    /// A straight dashed line; `dash` is the length of a dash and of the gap after it.
    pub(super) fn dashes(&self, (from, to): (Place, Place), dash: f64, stroke: (Ink, u32)) -> Result<()> {
        let length = (to.0 - from.0).hypot(to.1 - from.1);
        let along = |at: f64| {
            let share = if length > 0.0 { (at / length).min(1.0) } else { 0.0 };
            (from.0 + (to.0 - from.0) * share, from.1 + (to.1 - from.1) * share)
        };
        let n = (length / (2.0 * dash)).ceil() as usize;
        (0..n)
            .map(|i| 2.0 * dash * i as f64)
            .try_for_each(|start| self.line(&[along(start), along(start + dash)], stroke))
    }

    /// A marker of `radius` around a place.
    pub(super) fn marker(&self, marker: Marker, (x, y): Place, (ink, radius): (Ink, f64)) -> Result<()> {
        let style = colour(ink).filled();
        let r = radius;
        let corners: &[Place] = match marker {
            Marker::Dot => {
                let radius = (radius * f64::from(self.canvas.scale)).round() as i32;
                return self.area.draw(&Circle::new(self.at((x, y)), radius, style)).map_err(fault);
            }
            Marker::Square => {
                let corners = [self.at((x - 0.9 * r, y - 0.9 * r)), self.at((x + 0.9 * r, y + 0.9 * r))];
                return self.area.draw(&Rectangle::new(corners, style)).map_err(fault);
            }
            Marker::Up => &[(0.0, -1.25), (1.15, 0.85), (-1.15, 0.85)],
            Marker::Down => &[(0.0, 1.25), (1.15, -0.85), (-1.15, -0.85)],
            Marker::Diamond => &[(0.0, -1.3), (1.3, 0.0), (0.0, 1.3), (-1.3, 0.0)],
        };
        let corners: Vec<_> = corners.iter().map(|(dx, dy)| self.at((x + r * dx, y + r * dy))).collect();
        self.area.draw(&Polygon::new(corners, style)).map_err(fault)
    }

    /// A text whose middle line goes through its place.
    pub(super) fn text(&self, text: &str, place: Place, side: Side, (ink, size): (Ink, f64)) -> Result<()> {
        let side = match side {
            Side::Left => HPos::Right,
            Side::Middle => HPos::Center,
            Side::Right => HPos::Left,
        };
        let style = TextStyle {
            color: colour(ink).to_backend_color(),
            pos: Pos::new(side, VPos::Center),
            ..self.style(size * self.canvas.letters)
        };
        let place = (place.0, place.1 + size * self.canvas.lift);
        self.area.draw_text(&printable(text), &style, self.at(place)).map_err(fault)
    }

    /// How wide a text will be.
    pub(super) fn width(&self, text: &str, size: f64) -> Result<f64> {
        let (width, _) = self.area.estimate_text_size(&printable(text), &self.style(size)).map_err(fault)?;
        Ok(f64::from(width) / f64::from(self.canvas.scale))
    }

    fn style(&self, size: f64) -> TextStyle<'static> {
        (FAMILY, size * f64::from(self.canvas.scale)).into_font().into()
    }

    fn at(&self, (x, y): Place) -> (i32, i32) {
        let scale = f64::from(self.canvas.scale);
        ((x * scale).round() as i32, (y * scale).round() as i32)
    }
}

fn colour(ink: Ink) -> RGBColor {
    let (r, g, b) = ink.rgb(Look::Light);
    RGBColor(r, g, b)
}

/// The text with a question mark for every character that the font lacks.
fn printable(text: &str) -> String {
    text.chars().map(|c| if is_in_font(c) { c } else { '?' }).collect()
}

/// Whether the font has the character.
fn is_in_font(c: char) -> bool {
    matches!(c, ' '..='~' | '\u{a1}'..='\u{ac}' | '\u{ae}'..='\u{17f}' | '‐' | '–' | '—' | '‘' | '’' | '“' | '”' | '…' | '→' | '≈')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn u16_at(at: usize) -> usize {
        usize::from(u16::from_be_bytes([FONT[at], FONT[at + 1]]))
    }

    fn u32_at(at: usize) -> usize {
        u16_at(at) << 16 | u16_at(at + 2)
    }

    /// The ranges of characters in the font, from its `cmap` table (OpenType, format 4).
    fn ranges() -> Vec<(u32, u32)> {
        let tables = (0..u16_at(4)).map(|i| 12 + 16 * i);
        let cmap = u32_at(tables.into_iter().find(|at| &FONT[*at..at + 4] == b"cmap").unwrap() + 8);
        let table = cmap + u32_at(cmap + 8);
        assert_eq!(u16_at(table), 4, "another format of cmap");
        let n = u16_at(table + 6) / 2;
        let ends = (0..n).map(|i| u16_at(table + 14 + 2 * i) as u32);
        let starts = (0..n).map(|i| u16_at(table + 16 + 2 * n + 2 * i) as u32);
        starts.zip(ends).collect()
    }

    #[test]
    fn whatever_is_printed_is_in_the_font() {
        let ranges = ranges();
        let has = |c: char| ranges.iter().any(|(start, end)| (*start..=*end).contains(&(c as u32)));
        let printed: Vec<char> = ('\0'..='\u{ffff}').filter(|c| is_in_font(*c)).collect();
        assert!(printed.len() > 300);
        let missing: String = printed.into_iter().filter(|c| !has(*c)).collect();
        assert!(missing.is_empty(), "the font lacks {missing}");
        assert!(!has('▲'), "the test cannot see what is missing");
    }

    #[test]
    fn what_the_font_lacks_becomes_a_question_mark() {
        assert_eq!(printable("Läufe 走 – 84 %"), "Läufe ? – 84 %");
    }
}
