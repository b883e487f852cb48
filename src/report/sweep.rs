//! What does a sweep look like on paper?

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use super::history::{History, Measurement};
use super::page::{Block, Cell, Page, Section, Table};
use super::{html, markdown, write_chart};
use crate::app::words::{clock, count, percent, short};
use crate::corpus::Wording;
use crate::error::{Error, Result};
use crate::files::write_whole;
use crate::lab::sweep::{Difference, Row, Share, Spread, Sweep, Variant};
use crate::lab::{Contender, with_interval};
use crate::plot::{Along, Chart, Curve, Ink, Line, Marker, Scale};

/// Where nothing was measured.
const NONE: &str = "–";
/// How combinations are told apart in a chart.
const INKS: [Ink; 6] = [
    Ink::Contender(Contender::Tuned),
    Ink::Contender(Contender::BaseRag),
    Ink::Valid,
    Ink::General,
    Ink::Contender(Contender::TunedRag),
    Ink::Quiet,
];
const MARKERS: [Marker; 5] = [Marker::Dot, Marker::Up, Marker::Square, Marker::Diamond, Marker::Down];

/// What a chart shows of a run, by step.
type Measured<'a> = &'a dyn Fn(&History) -> Vec<(usize, f64)>;

/// Writes `sweep.json`, `sweep.csv`, the page in Markdown and in HTML, and the charts into the sweep's folder.
///
/// # Errors
/// When a run of it cannot be read, or a file cannot be written.
pub fn write_sweep(out: &Path, sweep: &Sweep) -> Result<()> {
    fs::create_dir_all(out).map_err(Error::io("create", out))?;
    let charts = charts(out, sweep)?;
    for (name, chart) in &charts {
        write_chart(chart, &out.join(name))?;
    }
    let json = serde_json::to_string_pretty(sweep)
        .map_err(|e| Error::file(out, e.to_string(), "report this as a fault"))?;
    write_whole(&out.join("sweep.json"), json.as_bytes())?;
    write_whole(&out.join("sweep.csv"), csv(sweep).as_bytes())?;
    let page = page(sweep, charts);
    write_whole(&out.join("sweep.md"), markdown::text(&page).as_bytes())?;
    write_whole(&out.join("sweep.html"), html::text(&page)?.as_bytes())
}

/// The table in plain words: the headings, then the rows.
pub fn sweep_rows(sweep: &Sweep) -> (Vec<String>, Vec<Vec<String>>) {
    let Table { head, rows, .. } = table(sweep);
    let texts = |row: Vec<Cell>| row.into_iter().map(|cell| cell.text).collect();
    (head, rows.into_iter().map(texts).collect())
}

fn page(sweep: &Sweep, charts: Vec<(&'static str, Chart)>) -> Page {
    let n_runs: usize = sweep.rows.iter().map(|row| row.n_runs).sum();
    let told = "Share of answers that contain a right one, over all seeds. In brackets Wilson's 95 % interval: a question \
                that was asked after each of several seeds counts once in it, so that more seeds do not make it look \
                surer than its questions allow. Of what was forgotten, the mean over the seeds with the lowest and the \
                highest.";
    let differences: Vec<String> = sweep.differences.iter().map(Difference::told).collect();
    let mut sections = vec![Section {
        heading: "Recall and forgetting",
        blocks: vec![Block::Text(told.to_owned()), Block::Table(table(sweep))],
    }];
    if !differences.is_empty() {
        let told = "In points of recall, on the same questions, with the 95 % interval of the paired bootstrap (whole \
                    facts are drawn). Where it holds nought, no difference can be told.";
        let blocks = vec![Block::Text(told.to_owned()), Block::List(differences)];
        sections.push(Section { heading: "Differences", blocks });
    }
    let pictured = charts.into_iter().filter(|(_, chart)| !chart.is_empty());
    let pictured = pictured.map(|(name, chart)| Block::Picture(name, Box::new(chart))).collect();
    sections.push(Section { heading: "Curves", blocks: pictured });
    let about = format!(
        "A sweep of lorascope {}: model {}, corpus {} ({}…), {} kernels; {} of training.",
        sweep.version,
        sweep.model,
        sweep.corpus,
        sweep.corpus_digest.chars().take(12).collect::<String>(),
        sweep.kernels,
        clock(sweep.train_s)
    );
    let result = format!("{} of {} are done.", n_runs, count(sweep.n_planned, "run"));
    Page { title: "Sweep".to_owned(), result, about, sections }
}

fn table(sweep: &Sweep) -> Table {
    let wordings: Vec<Wording> = Wording::ALL
        .into_iter()
        .filter(|wording| sweep.base.recall.values().any(|by| by.contains_key(wording)))
        .collect();
    let mut head = vec!["who".to_owned(), "seeds".to_owned()];
    head.extend(wordings.iter().map(|wording| wording.name().replace('_', "-")));
    head.extend(["broken", "general ppl", "quiz", "KL"].map(str::to_owned));
    let shares = |recall: Option<&BTreeMap<Wording, Share>>| -> Vec<Cell> {
        let spoken = |share: &Share| with_interval(share.contains, share.ci95);
        let share = |wording| recall.and_then(|by| by.get(wording)).map_or(NONE.to_owned(), spoken);
        let mut cells: Vec<Cell> = wordings.iter().map(|wording| Cell::text(share(wording))).collect();
        let broken = recall.map(|by| {
            let n: usize = by.values().map(|share| share.n).sum();
            by.values().map(|share| share.degenerate * share.n as f64).sum::<f64>() / n.max(1) as f64
        });
        cells.push(Cell::text(broken.map_or(NONE.to_owned(), percent)));
        cells
    };
    let mut rows = Vec::new();
    for (contender, recall) in &sweep.base.recall {
        let mut cells = vec![Cell::coloured(contender.name(), Ink::Contender(*contender)), Cell::text(NONE)];
        cells.extend(shares(Some(recall)));
        let quiz = sweep.base.quiz_right.map_or(NONE.to_owned(), |n| format!("{n} of {}", sweep.base.n_quiz));
        cells.push(Cell::text(sweep.base.general_perplexity.map_or(NONE.to_owned(), short)));
        cells.extend([Cell::text(quiz), Cell::text("0")]);
        rows.push(cells);
    }
    for row in &sweep.rows {
        for (contender, recall) in &row.recall {
            let name = called(sweep, &row.variant);
            let name = if *contender == Contender::TunedRag { format!("{name} + RAG") } else { name };
            let mut cells =
                vec![Cell::coloured(name, Ink::Contender(*contender)), Cell::text(row.n_runs.to_string())];
            cells.extend(shares(Some(recall)));
            cells.extend([
                Cell::text(ranged(&row.general_perplexity, 1)),
                Cell::text(ranged(&row.quiz_right, 0)),
                Cell::text(ranged(&row.kl_from_base, 2)),
            ]);
            rows.push(cells);
        }
    }
    Table { head, n_words: 1, rows }
}

/// A combination's name; the rank is left out where all have the same, so that the name fits a chart on a telephone.
fn called(sweep: &Sweep, variant: &Variant) -> String {
    let told = variant.told();
    if sweep.grid.ranks.len() > 1 { told } else { told.replacen(&format!(", rank {}", variant.rank), "", 1) }
}

/// `44.1 (43.0 to 45.2)`; one value alone where all are the same.
fn ranged(spread: &Spread, digits: usize) -> String {
    let written = |value: f64| format!("{value:.digits$}");
    let (mean, [low, high]) = (written(spread.mean), spread.range.map(written));
    if low == high { mean } else { format!("{mean} ({low} to {high})") }
}

/// A line a combination, contender and wording.
fn csv(sweep: &Sweep) -> String {
    let mut text =
        "recipe,rank,wordings,replay,seeds,contender,wording,n,contains,low,high,lowest_seed,highest_seed,\
                    degenerate,general_perplexity,quiz_right,kl_from_base,train_s\n"
            .to_owned();
    let mut line = |settings: &str, recall: &_, rest: &str| {
        let recall: &BTreeMap<Contender, BTreeMap<Wording, Share>> = recall;
        for (contender, by) in recall {
            for (wording, share) in by {
                let Share { n, contains, ci95, by_seed, degenerate } = share;
                let _ = writeln!(
                    text,
                    "{settings},{},{},{n},{contains},{},{},{},{},{degenerate},{rest}",
                    contender.name(),
                    wording.name(),
                    ci95[0],
                    ci95[1],
                    by_seed[0],
                    by_seed[1]
                );
            }
        }
    };
    let base = &sweep.base;
    let known = |value: Option<f64>| value.map_or(String::new(), |value| value.to_string());
    let quiz = known(base.quiz_right.map(|n| n as f64));
    line(",,,,", &base.recall, &format!("{},{quiz},0,", known(base.general_perplexity)));
    for Row { variant, n_runs, recall, general_perplexity, kl_from_base, quiz_right, train_s } in &sweep.rows
    {
        let Variant { recipe, rank, wordings, replay } = variant;
        let wordings = wordings.map_or(String::new(), |n| n.to_string());
        let settings = format!("{},{rank},{wordings},{replay},{n_runs}", recipe.name());
        let rest =
            format!("{},{},{},{}", general_perplexity.mean, quiz_right.mean, kl_from_base.mean, train_s.mean);
        line(&settings, recall, &rest);
    }
    text
}

/// The curves of all combinations over each other, each the mean over its seeds.
fn charts(out: &Path, sweep: &Sweep) -> Result<Vec<(&'static str, Chart)>> {
    let mut histories: Vec<(&Variant, Vec<History>)> = Vec::new();
    for row in &sweep.rows {
        let folders = (1..=sweep.grid.n_seeds as u64).map(|seed| out.join(row.variant.folder(seed)));
        let read = folders.filter(|folder| folder.is_dir()).map(|folder| History::read(&folder));
        histories.push((&row.variant, read.collect::<Result<_>>()?));
    }
    let last = histories.iter().flat_map(|(_, all)| all).map(History::last_step).max().unwrap_or(1) as f64;
    let chart = |title: &str, unit: &str, share: bool, of: Measured| {
        let curves: Vec<Curve> = histories
            .iter()
            .enumerate()
            .map(|(i, (variant, all))| curve((i, called(sweep, variant)), variant, all, (share, of)))
            .collect();
        let top = curves.iter().flat_map(|c| &c.points).map(|(_, value)| *value).fold(0.0, f64::max);
        Chart {
            title: title.to_owned(),
            run: count(sweep.n_planned, "run"),
            unit: unit.to_owned(),
            scale: if share { Scale::Share } else { Scale::FromZero { top } },
            along: Along::Steps { last },
            curves,
            remark: "nothing was measured yet".to_owned(),
        }
    };
    Ok(vec![
        (
            "recall",
            chart(
                "Recall of unseen wordings",
                "questions whose answer contains a right one",
                true,
                &|history| {
                    let share = |at: &Measurement| Some((at.step, *at.recall.get(&Wording::Unseen)?));
                    history.measurements.iter().filter_map(share).collect()
                },
            ),
        ),
        (
            "forgetting",
            chart("Perplexity of general text", "lower is better", false, &|history| {
                let ppl = |at: &Measurement| Some((at.step, at.general_loss?.exp()));
                history.measurements.iter().filter_map(ppl).collect()
            }),
        ),
        (
            "validation",
            chart("Validation loss", "mean nats per token, on what was held out", false, &|history| {
                let loss = |at: &Measurement| Some((at.step, at.valid_loss?));
                history.measurements.iter().filter_map(loss).collect()
            }),
        ),
    ])
}

fn curve(
    (i, name): (usize, String),
    variant: &Variant,
    all: &[History],
    (share, of): (bool, Measured),
) -> Curve {
    let mut sums: BTreeMap<usize, (f64, f64)> = BTreeMap::new();
    for (step, value) in all.iter().flat_map(of).filter(|(_, value)| value.is_finite()) {
        let (sum, n) = sums.entry(step).or_default();
        *sum += value;
        *n += 1.0;
    }
    let points: Vec<(f64, f64)> = sums.into_iter().map(|(step, (sum, n))| (step as f64, sum / n)).collect();
    let value = points.last().map_or(String::new(), |(_, v)| if share { percent(*v) } else { short(*v) });
    Curve {
        name,
        value,
        ink: INKS[i % INKS.len()],
        line: if variant.replay > 0.0 { Line::Dashed } else { Line::Thick },
        marker: Some(MARKERS[i % MARKERS.len()]),
        points,
    }
}
