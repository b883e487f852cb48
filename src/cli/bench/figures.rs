//! How are measurements told, to people and to programs?

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use crate::cli::progress::bytes;
use crate::lab::speed::{FLOP_FORMULA, Growth, MachinePeak, Sample};

/// What a row's sample is in the JSON object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// The median, under a key.
    Median(&'static str),
    /// The median of one stage, in an object under a key.
    Stage(&'static str, &'static str),
    /// Median, 99th percentile and worst, in an object under a key.
    Tail(&'static str),
}

/// One kind of measurement.
#[derive(Debug, Clone)]
pub(super) struct Row {
    /// What was measured.
    pub(super) name: &'static str,
    /// Its unit.
    pub(super) unit: &'static str,
    /// What came out.
    pub(super) sample: Sample,
    /// How it is told to programs.
    pub(super) told: Told,
    /// The circumstances, for people.
    pub(super) note: String,
}

/// Everything that was measured in one go.
#[derive(Debug, Clone)]
pub(super) struct Report {
    /// The decoder's name, where one was needed.
    pub(super) model: Option<String>,
    /// The embedder's, likewise.
    pub(super) embedder: Option<String>,
    /// The kernels in use.
    pub(super) kernels: &'static str,
    /// Threads of the arithmetic.
    pub(super) threads: usize,
    /// Measured runs.
    pub(super) runs: usize,
    /// The measurements.
    pub(super) rows: Vec<Row>,
    /// FLOP of a training token and training tokens a second, where training was measured.
    pub(super) training: Option<Training>,
    /// How costs grow, where that was measured.
    pub(super) growth: Vec<Growth>,
    /// The most memory held, before the machine itself was measured.
    pub(super) peak_rss_bytes: Option<u64>,
    /// What the machine could do.
    pub(super) peak: MachinePeak,
}

/// The arithmetic of training.
#[derive(Debug, Clone, Copy)]
pub(super) struct Training {
    /// Of one token.
    pub(super) flop_per_token: f64,
    /// Median.
    pub(super) tokens_per_s: f64,
}

impl Report {
    /// The share of the product kernel's best that training reaches.
    fn share(&self) -> Option<f64> {
        let peak = self.peak.gflop_per_s.max() * 1e9;
        self.training.map(|training| training.tokens_per_s * training.flop_per_token / peak)
    }
}

/// One JSON object, with keys for what was measured.
pub(super) fn json(report: &Report) -> Value {
    let mut all = Map::new();
    let mut spread = Map::new();
    all.insert("model".to_owned(), json!(report.model));
    if let Some(embedder) = &report.embedder {
        all.insert("embedder".to_owned(), json!(embedder));
    }
    all.insert("kernels".to_owned(), json!(report.kernels));
    all.insert("threads".to_owned(), json!(report.threads));
    all.insert("runs".to_owned(), json!(report.runs));
    for Row { name, sample, told, .. } in &report.rows {
        match *told {
            Told::Median(key) => {
                all.insert(key.to_owned(), json!(sample.median()));
            }
            Told::Stage(key, stage) => {
                if let Some(stages) = all.entry(key).or_insert_with(|| json!({})).as_object_mut() {
                    stages.insert(stage.to_owned(), json!(sample.median()));
                }
            }
            Told::Tail(key) => {
                let (median, p99, worst) = (sample.median(), sample.quantile(0.99), sample.max());
                all.insert(key.to_owned(), json!({ "median": median, "p99": p99, "worst": worst }));
            }
        }
        spread.insert((*name).to_owned(), spread_of(sample));
    }
    all.insert("peak_rss_bytes".to_owned(), json!(report.peak_rss_bytes));
    all.insert("peak_gflop_per_s".to_owned(), json!(report.peak.gflop_per_s.max()));
    all.insert("peak_memory_gb_per_s".to_owned(), json!(report.peak.gb_per_s.max()));
    spread.insert("peak product".to_owned(), spread_of(&report.peak.gflop_per_s));
    spread.insert("peak memory".to_owned(), spread_of(&report.peak.gb_per_s));
    if let Some(training) = report.training {
        all.insert("train_flop_per_token".to_owned(), json!(training.flop_per_token));
        all.insert("train_flop_formula".to_owned(), json!(FLOP_FORMULA));
        all.insert("train_share_of_peak".to_owned(), json!(report.share()));
    }
    all.insert("spread".to_owned(), Value::Object(spread));
    if !report.growth.is_empty() {
        all.insert("growth".to_owned(), report.growth.iter().map(growth_of).collect());
    }
    Value::Object(all)
}

fn growth_of(growth: &Growth) -> Value {
    let (work, unit) = growth.work;
    let point = |(size, sample): &(usize, Sample)| {
        let mut point = spread_of(sample);
        point["size"] = json!(size);
        point
    };
    let points: Vec<Value> = growth.points.iter().map(point).collect();
    json!({ "key": growth.key, "work": work, "unit": unit, "along": growth.along, "points": points })
}

fn spread_of(sample: &Sample) -> Value {
    json!({ "median": sample.median(), "min": sample.min(), "max": sample.max(), "n": sample.n() })
}

/// A table with a few lines around it.
pub(super) fn table(report: &Report) -> String {
    let whose = report.model.as_deref().or(report.embedder.as_deref()).unwrap_or("no model");
    let mut text = format!(
        "{whose}; {} kernels, {} threads; {} runs after one to warm up\n\n",
        report.kernels, report.threads, report.runs
    );
    let (product, memory) = (&report.peak.gflop_per_s, &report.peak.gb_per_s);
    let mut lines: Vec<[String; 6]> = vec![["", "", "median", "min", "max", ""].map(str::to_owned)];
    lines.extend(report.rows.iter().map(|row| line((row.name, row.unit), &row.sample, &row.note)));
    let kind = if ["bf16", "amx"].contains(&report.kernels) { "bfloat16" } else { "float32" };
    let shape = format!("(512, 576) x (576, 1536), {kind}");
    lines.push(line(("peak product", "GFLOP/s"), product, &shape));
    lines.push(line(("peak memory", "GB/s"), memory, "read, far beyond the caches"));
    text.push_str(&aligned(&lines));
    for growth in &report.growth {
        let (work, unit) = growth.work;
        let _ = write!(text, "\n\n{work}, by {}", growth.along);
        for (size, sample) in &growth.points {
            let [median, min, max] = [sample.median(), sample.min(), sample.max()].map(figure);
            let _ = write!(text, "\n{size:>8}  {median:>8} {unit}  ({min} to {max})");
        }
    }
    if let Some(rss) = report.peak_rss_bytes {
        let _ = write!(text, "\n\nmemory: {} at the peak", bytes(rss));
    }
    if let (Some(training), Some(share)) = (report.training, report.share()) {
        let _ = write!(
            text,
            "\n\ntraining reaches {:.0} % of the best product: {:.0} tokens/s x {:.3} GFLOP of {:.0} GFLOP/s\n({FLOP_FORMULA})",
            share * 100.0,
            training.tokens_per_s,
            training.flop_per_token / 1e9,
            product.max()
        );
    }
    text
}

fn line((name, unit): (&str, &str), sample: &Sample, note: &str) -> [String; 6] {
    let [median, min, max] = [sample.median(), sample.min(), sample.max()].map(figure);
    [name.to_owned(), unit.to_owned(), median, min, max, note.to_owned()]
}

/// A number with three or four digits that count.
fn figure(value: f64) -> String {
    match value.abs() {
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        1.0.. => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// Columns side by side: words to the left, numbers (the third to the fifth) to the right.
fn aligned(lines: &[[String; 6]]) -> String {
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; 6] = std::array::from_fn(width);
    let told = lines.iter().map(|line| {
        let cells = line.iter().zip(widths).enumerate().map(|(column, (cell, width))| match column {
            2..=4 => format!("{cell:>width$}"),
            _ => format!("{cell:<width$}"),
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    });
    told.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &'static str, told: Told, values: &[f64]) -> Row {
        let note = "4 x 128 tokens".to_owned();
        Row { name, unit: "tokens/s", sample: Sample::of(values.to_vec()), told, note }
    }

    fn report(rows: Vec<Row>) -> Report {
        let training = Training { flop_per_token: 0.5e9, tokens_per_s: 300.0 };
        Report {
            model: Some("tiny".to_owned()),
            embedder: None,
            kernels: "avx2",
            threads: 2,
            runs: 3,
            training: rows.iter().any(|row| row.name == "train").then_some(training),
            rows,
            growth: Vec::new(),
            peak_rss_bytes: None,
            peak: MachinePeak {
                gflop_per_s: Sample::of(vec![150.0, 200.0]),
                gb_per_s: Sample::of(vec![20.0]),
            },
        }
    }

    #[test]
    fn programs_get_only_what_was_measured() {
        let stage = |stage| Told::Stage("retrieve_ms", stage);
        let rows = vec![
            row("retrieve bm25", stage("bm25"), &[1.0, 3.0]),
            row("retrieve total", stage("total"), &[4.0]),
            row("frame", Told::Tail("ui_frame_ms"), &[2.0, 1.0, 9.0]),
        ];
        let told = json(&report(rows));
        assert_eq!(told["retrieve_ms"], json!({ "bm25": 2.0, "total": 4.0 }));
        assert_eq!(told["ui_frame_ms"], json!({ "median": 2.0, "p99": 9.0, "worst": 9.0 }));
        assert_eq!(told["spread"]["frame"], json!({ "median": 2.0, "min": 1.0, "max": 9.0, "n": 3 }));
        assert_eq!((&told["peak_rss_bytes"], &told["peak_gflop_per_s"]), (&Value::Null, &json!(200.0)));
        let keys = told.as_object().unwrap();
        assert!(!keys.keys().any(|key| key.starts_with("train") || key == "embedder"), "{told}");
    }

    #[test]
    fn growth_is_told_size_by_size() {
        let points = vec![(10, Sample::of(vec![1.0, 3.0, 2.0])), (100, Sample::of(vec![4.5]))];
        let growth = Growth { key: "bm25", work: ("BM25", "ms"), along: "documents", points };
        let report = Report { growth: vec![growth], ..report(Vec::new()) };
        let told = json(&report);
        let first = json!({ "size": 10, "median": 2.0, "min": 1.0, "max": 3.0, "n": 3 });
        assert_eq!(told["growth"][0]["points"][0], first);
        assert_eq!((&told["growth"][0]["key"], &told["growth"][0]["unit"]), (&json!("bm25"), &json!("ms")));
        let text = table(&report);
        assert!(
            text.contains("BM25, by documents\n      10      2.00 ms  (1.00 to 3.00)\n     100"),
            "{text}"
        );
    }

    #[test]
    fn the_share_of_the_peak_is_told_with_training() {
        let told =
            json(&report(vec![row("train", Told::Median("train_tokens_per_s"), &[300.0, 200.0, 400.0])]));
        assert_eq!(told["train_tokens_per_s"], json!(300.0));
        // 300 tokens/s of 0.5 GFLOP are 150 of 200 GFLOP/s.
        assert_eq!(told["train_share_of_peak"], json!(0.75));
    }

    #[test]
    fn the_table_is_aligned_and_says_how_it_counts() {
        let rows = vec![
            row("train", Told::Median("train_tokens_per_s"), &[2140.2]),
            row("decode", Told::Median("d"), &[9.876]),
        ];
        let text = table(&report(rows));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[2], "                        median   min   max");
        assert_eq!(lines[3], "train         tokens/s    2140  2140  2140  4 x 128 tokens");
        assert_eq!(lines[4], "decode        tokens/s    9.88  9.88  9.88  4 x 128 tokens");
        assert!(
            text.contains("training reaches 75 % of the best product: 300 tokens/s x 0.500 GFLOP of 200")
        );
        assert!(text.ends_with(&format!("({FLOP_FORMULA})")));
        assert!(!text.contains("NaN") && !text.contains("memory:"));
    }
}
