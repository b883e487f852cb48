//! How do curves and letters get smooth edges in a bitmap? They are drawn larger, then made smaller.

use std::fs;
use std::path::Path;

use plotters::backend::BitMapBackend;
use plotters::drawing::IntoDrawingArea;
use plotters::prelude::DrawingBackend;

use super::pen::{Canvas, Pen};
use super::{Chart, Shape, draw, fault};
use crate::error::{Error, Result};

/// Pixels drawn, across and down, for each one of the picture.
const SCALE: u32 = 3;

/// The chart, wide, as the bytes of a PNG. Its pieces are put together beside `path`, where it is to go.
pub(super) fn png(chart: &Chart, path: &Path) -> Result<Vec<u8>> {
    let (width, height) = Shape::Wide.size();
    let size = (width * SCALE, height * SCALE);
    let mut large = vec![0; 3 * (size.0 * size.1) as usize];
    let area = BitMapBackend::with_buffer(&mut large, size).into_drawing_area();
    draw::draw(chart, &Pen::new(&area, Canvas::bitmap(SCALE))?)?;
    area.present().map_err(fault)?;
    drop(area);
    encoded(&reduced(&large, (width as usize, height as usize)), &path.with_extension("part.png"))
}

/// Each pixel the mean of those drawn for it; both bitmaps are rows of red, green, blue.
fn reduced(large: &[u8], (width, height): (usize, usize)) -> Vec<u8> {
    let scale = SCALE as usize;
    let mut small = Vec::with_capacity(3 * width * height);
    let mut sums = vec![0u32; 3 * width];
    for rows in large.chunks_exact(3 * width * scale * scale) {
        sums.fill(0);
        for row in rows.chunks_exact(3 * width * scale) {
            for (sum, pixels) in sums.chunks_exact_mut(3).zip(row.chunks_exact(3 * scale)) {
                pixels.iter().enumerate().for_each(|(i, value)| sum[i % 3] += u32::from(*value));
            }
        }
        small.extend(sums.iter().map(|sum| (sum / (SCALE * SCALE)) as u8));
    }
    small
}

/// The PNG of a bitmap. The encoder writes files only, so it is given one, which is read and removed.
fn encoded(pixels: &[u8], scratch: &Path) -> Result<Vec<u8>> {
    let size = Shape::Wide.size();
    // The encoder's own words for a folder that cannot be written to are nobody's.
    fs::File::create(scratch).map_err(Error::io("create", scratch))?;
    let mut backend = BitMapBackend::new(scratch, size);
    backend.blit_bitmap((0, 0), size, pixels).map_err(fault)?;
    let written = backend
        .present()
        .map_err(|e| Error::file(scratch, e.to_string(), "check that the folder can be written to"));
    drop(backend);
    written?;
    let bytes = fs::read(scratch).map_err(Error::io("read", scratch))?;
    fs::remove_file(scratch).map_err(Error::io("remove", scratch))?;
    Ok(bytes)
}
