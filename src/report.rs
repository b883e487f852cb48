//! What does a run look like on paper?
//!
//! A folder with the charts as PNG and SVG, a page in Markdown, and the same page in HTML that needs
//! nothing beside itself: no network, no script.

mod answers;
mod board;
mod charts;
mod claims;
mod cost;
mod forgotten;
mod growth;
mod history;
mod html;
mod markdown;
mod page;
mod retrieval;
mod scoreboard;
mod sentence;
mod settings;
mod sweep;
mod tables;
mod task;

use std::fs;
use std::path::{Path, PathBuf};

use crate::app::Board;
use crate::error::{Error, Result};
use crate::files::write_whole;
use crate::lab::claims::{Evidence, Judged, judged};
use crate::plot::{self, Chart, Shape};
use crate::run::RunSummary;

use history::History;
use scoreboard::Scoreboard;

pub use growth::write_growth;
pub use settings::command_line;
pub use sweep::{sweep_rows, write_sweep};

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The page in Markdown.
    pub markdown: PathBuf,
    /// The page in HTML.
    pub html: PathBuf,
    /// The charts, as PNG and SVG.
    pub charts: Vec<PathBuf>,
}

/// All that is known about a run.
struct Facts {
    summary: RunSummary,
    history: History,
    scoreboard: Option<Scoreboard>,
    /// What was answered for it.
    answers: Vec<answers::Answer>,
    /// Of a run of a task, how that was done.
    task: Option<task::Task>,
    /// The fact board at the end.
    board: Option<Board>,
    /// What this run and those beside it say about the article's claims.
    claims: Vec<Judged>,
}

/// Where a run's report is kept, and where its scoreboard is looked for.
pub fn folder(run: &Path) -> PathBuf {
    run.join("report")
}

/// Writes the report of a run into `out`, which is made if missing. A run that has only begun, or is
/// under way, has a report too.
///
/// # Errors
/// When the run cannot be read, its scoreboard is damaged, or a file cannot be written.
pub fn write(run: &Path, out: &Path) -> Result<Written> {
    let facts = read(run)?;
    fs::create_dir_all(out).map_err(Error::io("create", out))?;
    let charts = charts::of(&facts);
    let mut written =
        Written { markdown: out.join("report.md"), html: out.join("report.html"), charts: Vec::new() };
    for (name, chart) in &charts {
        written.charts.extend(write_chart(chart, &out.join(name))?);
    }
    let page = page::of(&facts, charts)?;
    write_whole(&written.markdown, markdown::text(&page).as_bytes())?;
    write_whole(&written.html, html::text(&page)?.as_bytes())?;
    Ok(written)
}

/// Writes a chart as PNG and SVG; `path` has no extension.
fn write_chart(chart: &Chart, path: &Path) -> Result<[PathBuf; 2]> {
    let (png, svg) = (path.with_extension("png"), path.with_extension("svg"));
    plot::write_png(chart, &png)?;
    write_whole(&svg, plot::svg(chart, Shape::Wide)?.as_bytes())?;
    Ok([png, svg])
}

fn read(run: &Path) -> Result<Facts> {
    let summary = RunSummary::read(run)?;
    let beside = run.parent().map(Evidence::of_runs).transpose()?.unwrap_or_default();
    Ok(Facts {
        history: History::read(run)?,
        scoreboard: Scoreboard::read(&folder(run))?,
        answers: answers::read(&folder(run))?,
        task: task::read(&folder(run))?,
        board: board::read(run)?,
        claims: judged(&beside),
        summary,
    })
}

#[cfg(test)]
mod tests;
