//! What does the growth of a cost look like on paper?

use std::fs;
use std::path::{Path, PathBuf};

use super::write_chart;
use crate::app::words::short;
use crate::error::{Error, Result};
use crate::lab::Contender;
use crate::lab::speed::Growth;
use crate::plot::{Along, Chart, Curve, Ink, Line, Marker, Scale};

/// Writes a chart of each, as PNG and SVG; `machine` says where it was measured. The files.
///
/// # Errors
/// When a file cannot be written.
pub fn write_growth(out: &Path, growth: &[Growth], machine: &str) -> Result<Vec<PathBuf>> {
    fs::create_dir_all(out).map_err(Error::io("create", out))?;
    let mut written = Vec::new();
    for one in growth {
        written.extend(write_chart(&chart(one, machine), &out.join(one.key))?);
    }
    Ok(written)
}

fn chart(growth: &Growth, machine: &str) -> Chart {
    let points: Vec<(f64, f64)> =
        growth.points.iter().map(|(n, sample)| (*n as f64, sample.median())).collect();
    let ends = |of: fn(&(f64, f64)) -> f64| {
        let values = points.iter().map(of);
        (values.clone().fold(f64::INFINITY, f64::min), values.fold(0.0, f64::max))
    };
    let ((low, high), (least, most)) = (ends(|point| point.0), ends(|point| point.1));
    // What grows by factors is looked at by factors.
    let scale = if most > 10.0 * least {
        Scale::Log { low: least, high: most }
    } else {
        Scale::FromZero { top: most }
    };
    let (work, unit) = growth.work;
    Chart {
        title: work.to_owned(),
        run: machine.to_owned(),
        unit: format!("{unit}, medians of {}", growth.points.first().map_or(0, |(_, sample)| sample.n())),
        scale,
        along: Along::Sizes { what: growth.along.to_owned(), low, high },
        curves: vec![Curve {
            name: work.to_owned(),
            value: points.last().map(|(_, value)| short(*value)).unwrap_or_default(),
            ink: Ink::Contender(Contender::Tuned),
            line: Line::Thick,
            marker: Some(Marker::Dot),
            points,
        }],
        remark: "nothing was measured".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::speed::Sample;

    #[test]
    fn a_growth_becomes_a_picture_of_its_medians() {
        let points = [(10, 0.2), (100, 0.3), (1000, 5.0)];
        let points = points.map(|(n, ms)| (n, Sample::of(vec![ms, ms, 9.0]))).to_vec();
        let growth = Growth { key: "bm25", work: ("Of it BM25", "ms"), along: "documents", points };
        let drawn = chart(&growth, "avx2");
        assert_eq!(drawn.curves[0].points, [(10.0, 0.2), (100.0, 0.3), (1000.0, 5.0)]);
        assert_eq!((drawn.title.as_str(), drawn.unit.as_str()), ("Of it BM25", "ms, medians of 3"));
        assert!(matches!(drawn.scale, Scale::Log { .. }));
        let dir = tempfile::tempdir().unwrap();
        let files = write_growth(&dir.path().join("new"), &[growth], "avx2").unwrap();
        assert!(files.len() == 2 && files.iter().all(|file| file.is_file()));
    }
}
