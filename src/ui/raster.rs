//! How is a curve drawn in a grid of characters? With 2 x 4 dots a cell.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::theme::Glyphs;

/// The Braille bit of each dot, by column and row within a cell.
const BITS: [[u8; 4]; 2] = [[0x01, 0x02, 0x04, 0x40], [0x08, 0x10, 0x20, 0x80]];

/// Which of two strokes that meet in a cell is seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Layer {
    /// Gives way to everything.
    Back,
    /// Gives way to curves.
    Under,
    /// Shares the cell with other curves; the later one gives the colour.
    Curve,
}

/// How a stroke looks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stroke {
    pub(super) style: Style,
    pub(super) layer: Layer,
    /// Dots drawn and dots left out, in turn; 0 left out is a solid line.
    pub(super) dash: (usize, usize),
}

impl Stroke {
    /// A solid curve.
    pub(super) fn solid(style: Style) -> Self {
        Self { style, layer: Layer::Curve, dash: (1, 0) }
    }

    /// A broken curve.
    pub(super) fn dashed(style: Style) -> Self {
        Self { style, layer: Layer::Curve, dash: (3, 3) }
    }

    /// A curve that gives way to others: its points have markers anyway.
    pub(super) fn under(style: Style) -> Self {
        Self { style, layer: Layer::Under, dash: (1, 0) }
    }

    /// Something behind the curves.
    pub(super) fn behind(style: Style) -> Self {
        Self { style, layer: Layer::Back, dash: (1, 0) }
    }
}

#[derive(Debug, Clone, Copy)]
struct Cell {
    dots: u8,
    top: Option<(Layer, Style)>,
}

/// A field of dots. Points are given between (0, 0), bottom left, and (1, 1), top right.
#[derive(Debug)]
pub(super) struct Raster {
    area: Rect,
    cells: Vec<Cell>,
}

impl Raster {
    pub(super) fn new(area: Rect) -> Self {
        Self { area, cells: vec![Cell { dots: 0, top: None }; area.area() as usize] }
    }

    /// Dots from left to right.
    pub(super) fn columns(&self) -> usize {
        self.area.width as usize * 2
    }

    fn place(&self, (x, y): (f64, f64)) -> (i64, i64) {
        let (columns, rows) = (self.columns() as f64, f64::from(self.area.height) * 4.0);
        // Far outside is as good as just outside, and stays a sound number.
        let (x, y) = (x.clamp(-4.0, 4.0), y.clamp(-4.0, 4.0));
        ((x * (columns - 1.0)).round() as i64, ((1.0 - y) * (rows - 1.0)).round() as i64)
    }

    fn dot(&mut self, x: i64, y: i64, stroke: Stroke) {
        let inside = x >= 0 && y >= 0 && x < self.columns() as i64 && y < i64::from(self.area.height) * 4;
        if !inside {
            return;
        }
        let (x, y) = (x as usize, y as usize);
        let cell = &mut self.cells[y / 4 * self.area.width as usize + x / 2];
        match cell.top {
            Some((layer, _)) if layer > stroke.layer => return,
            Some((layer, _)) if layer < stroke.layer => cell.dots = 0,
            _ => {}
        }
        cell.dots |= BITS[x % 2][y % 4];
        cell.top = Some((stroke.layer, stroke.style));
    }

    /// A straight line between two points.
    pub(super) fn line(&mut self, from: (f64, f64), to: (f64, f64), stroke: Stroke) {
        let ((x0, y0), (x1, y1)) = (self.place(from), self.place(to));
        let n = (x1 - x0).abs().max((y1 - y0).abs()).max(1);
        for i in 0..=n {
            let share = i as f64 / n as f64;
            let x = x0 + ((x1 - x0) as f64 * share).round() as i64;
            let y = y0 + ((y1 - y0) as f64 * share).round() as i64;
            let (on, off) = stroke.dash;
            // Dashes are counted along the axis that changes most, so that joints don't show.
            let along = if (x1 - x0).abs() >= (y1 - y0).abs() { x } else { y };
            if off == 0 || along.rem_euclid((on + off) as i64) < on as i64 {
                self.dot(x, y, stroke);
            }
        }
    }

    /// Lines from each point to the next.
    pub(super) fn curve(&mut self, points: impl Iterator<Item = (f64, f64)>, stroke: Stroke) {
        let mut before = None;
        for point in points {
            self.line(before.unwrap_or(point), point, stroke);
            before = Some(point);
        }
    }

    /// The cell a point lies in, if it is inside.
    pub(super) fn cell(&self, point: (f64, f64)) -> Option<(u16, u16)> {
        let (x, y) = self.place(point);
        let inside = x >= 0 && y >= 0 && x < self.columns() as i64 && y < i64::from(self.area.height) * 4;
        inside.then(|| (self.area.x + x as u16 / 2, self.area.y + y as u16 / 4))
    }

    /// Puts the dots on the screen.
    pub(super) fn render(&self, glyphs: Glyphs, buf: &mut Buffer) {
        for (i, cell) in self.cells.iter().enumerate() {
            let Some((_, style)) = cell.top else { continue };
            let (x, y) = (i as u16 % self.area.width, i as u16 / self.area.width);
            if let Some(target) = buf.cell_mut((self.area.x + x, self.area.y + y)) {
                target.set_char(character(cell.dots, glyphs)).set_style(style);
            }
        }
    }
}

fn character(dots: u8, glyphs: Glyphs) -> char {
    match glyphs {
        Glyphs::Braille => char::from_u32(0x2800 + u32::from(dots)).unwrap_or(' '),
        Glyphs::Blocks => match (dots & 0x1b != 0, dots & 0xe4 != 0) {
            (true, true) => '█',
            (true, false) => '▀',
            (false, true) => '▄',
            (false, false) => ' ',
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(draw: impl Fn(&mut Raster)) -> Vec<String> {
        let area = Rect::new(0, 0, 4, 2);
        let mut raster = Raster::new(area);
        draw(&mut raster);
        let mut buf = Buffer::empty(area);
        raster.render(Glyphs::Braille, &mut buf);
        (0..2).map(|y| (0..4).map(|x| buf[(x, y)].symbol().to_owned()).collect()).collect()
    }

    #[test]
    fn corners_are_corners_and_outside_is_left_out() {
        let stroke = Stroke::solid(Style::new());
        let diagonal = drawn(|r| r.line((0.0, 0.0), (1.0, 1.0), stroke));
        assert!(diagonal[0].ends_with('⠊') && diagonal[1].starts_with('⡠'), "{diagonal:?}");
        assert_eq!(drawn(|r| r.line((2.0, 2.0), (3.0, 9e300), stroke)), ["    ", "    "]);
        assert_eq!(drawn(|r| r.line((0.0, 1.0), (1.0, 1.0), stroke)), ["⠉⠉⠉⠉", "    "]);
        assert_eq!(drawn(|r| r.line((0.0, 0.0), (0.0, 1.0), stroke)), ["⡇   ", "⡇   "]);
    }

    #[test]
    fn what_is_behind_gives_way_and_curves_share() {
        let (front, back) = (Stroke::solid(Style::new()), Stroke::behind(Style::new()));
        for (first, second, seen) in [(front, back, "⠉⠉⠉⠉"), (back, front, "⠒⠒⠒⠒"), (front, front, "⠛⠛⠛⠛")]
        {
            let rows = drawn(|r| {
                r.line((0.0, 1.0), (1.0, 1.0), first);
                r.line((0.0, 6.0 / 7.0), (1.0, 6.0 / 7.0), second);
            });
            assert_eq!(rows[0], seen);
        }
    }
}
