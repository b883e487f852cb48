//! `lorascope sweep`: what do many runs say together?
//!
//! A sweep is a folder of ordinary run folders, each measured, with a table over all of them. The same command goes on
//! where it was broken off: what is finished stays.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::Args;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::ask::{Opened, once_each};
use super::eval::{self, Asked};
use super::open::{self, AdapterFlags};
use super::progress::{Progress, seconds};
use super::table::{Side, lines};
use super::train::TrainFlags;
use super::{Common, cancel_on_signals, say, say_json, usage};
use crate::cancel::Cancel;
use crate::config::Settings;
use crate::corpus::Wording;
use crate::error::{Error, Result};
use crate::lab::sweep::{Base, Grid, Mark, Row, Sweep, SweptRun, Variant, differences, shares};
use crate::lab::{BaseKnowledge, Contender, Desk, forgetting};
use crate::model::Adapter;
use crate::report;
use crate::run::{RunFolder, RunRecord, RunState, RunSummary, refuse_among_documents};
use crate::train::data::prepare;
use crate::train::{Recipe, RunControl, RunControls, TrainConfig, TrainEvent, TrainSink};
use crate::worker::{Job, perform};

/// Measurements of a run on its way, besides the one at its start; each costs as much as several steps, and all questions
/// are asked at the end anyway.
const N_MEASUREMENTS: usize = 2;

/// `lorascope sweep`.
#[derive(Debug, Args)]
pub struct SweepArgs {
    /// Runs of each combination, with seeds 1, 2, …
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = open::at_least_one)]
    pub seeds: usize,
    /// What to train on: qa, documents, or both.
    #[arg(long, value_delimiter = ',', value_name = "RECIPE", default_value = "qa")]
    pub recipe: Vec<Recipe>,
    /// LoRA ranks; alpha is twice the rank.
    #[arg(long, value_delimiter = ',', value_name = "N", default_value = "16")]
    pub rank: Vec<usize>,
    /// Trained wordings of each fact.
    #[arg(long, value_delimiter = ',', value_name = "N", default_value = "3")]
    pub wordings: Vec<usize>,
    /// Shares of general text among what is read.
    #[arg(long, value_delimiter = ',', value_name = "X", default_value = "0")]
    pub replay: Vec<f64>,
    /// How long, in passes over all examples: one for every recipe, or one each in their order; the recipe's own if not
    /// given.
    #[arg(long, value_delimiter = ',', value_name = "N")]
    pub epochs: Vec<f64>,
    /// Peak learning rate.
    #[arg(long, value_name = "X")]
    pub lr: Option<f64>,
    /// Questions of each wording at most, spread evenly; all if not given.
    #[arg(long, value_name = "N", value_parser = open::at_least_one)]
    pub sample: Option<usize>,
    /// The fine-tuned contenders that are asked after each run: tuned, tuned+rag, or both.
    #[arg(long, value_delimiter = ',', value_name = "WHO", default_value = "tuned")]
    pub contender: Vec<Contender>,
    /// The sweep's folder; without it, one among the data whose name is made from model, corpus and settings.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

/// A run of the sweep, made or to be made.
struct Planned {
    variant: Variant,
    seed: u64,
    config: TrainConfig,
    folder: PathBuf,
    /// Tokens it reads: what its time is estimated by.
    n_tokens: f64,
}

impl Planned {
    fn is_measured(&self) -> bool {
        self.folder.join("report/eval.json").is_file()
    }

    /// Refuses a run that was made with other settings, another corpus or another model.
    fn refuse_another(&self, opened: &Opened) -> Result<()> {
        if !RunFolder::is_at(&self.folder) {
            return RunFolder::refuse_taken(&self.folder);
        }
        let record = RunFolder::read_record(&self.folder)?;
        let same = record.train == self.config
            && record.corpus_digest == opened.corpus.digest
            && record.model == opened.model_name;
        if same {
            return Ok(());
        }
        let what = "was made with other settings, another model or another corpus";
        Err(Error::file(&self.folder, what, "name another folder with --out, or remove this one"))
    }
}

/// Runs it.
pub fn run(args: &SweepArgs, common: &Common) -> anyhow::Result<ExitCode> {
    let cancel = cancel_on_signals()?;
    let (paths, settings) = common.settings()?;
    let grid = usage(grid(args))?;
    let untuned = [Contender::Base, Contender::BaseRag].map(|c| c.name().to_owned());
    let opened = Opened::new(&untuned, &AdapterFlags::default(), common, &cancel)?;
    let out = args.out.clone().unwrap_or_else(|| {
        let key = format!("{} {} {args:?} {:?}", opened.model_name, opened.corpus.digest, settings.train);
        let digest = &format!("{:x}", Sha256::digest(key))[..8];
        let recipes: Vec<&str> = grid.recipes.iter().map(|recipe| recipe.name()).collect();
        paths.data.join("sweeps").join(format!("{}-{digest}", recipes.join("-")))
    });
    refuse_among_documents(&out, &opened.corpus.root)?;
    let planned = planned(args, (&grid, &settings), &opened, &out)?;
    planned.iter().try_for_each(|run| run.refuse_another(&opened))?;
    refuse_otherwise_asked(args, &opened, &out)?;
    eprintln!("{} runs of {} combinations, in {}", planned.len(), grid.variants().len(), out.display());
    let bench = Bench::new(args, &opened, &out, &cancel)?;
    let all: f64 = planned.iter().map(|run| run.n_tokens).sum();
    let (mut done, mut pace) = (0.0, Pace::default());
    let mut runs: Vec<(Variant, Vec<SweptRun>)> = Vec::new();
    for (i, run) in planned.iter().enumerate() {
        let name = format!("run {} of {}: {}, seed {}", i + 1, planned.len(), run.variant.told(), run.seed);
        let started = Instant::now();
        let fresh = !run.is_measured();
        let Some(swept) = bench.made(run, &name, (all - done, &pace))? else {
            eprintln!("the sweep was broken off; the same command goes on with it");
            return Ok(ExitCode::from(130));
        };
        done += run.n_tokens;
        if fresh {
            pace.note(run.n_tokens, started.elapsed().as_secs_f64());
        }
        match runs.iter_mut().find(|(variant, _)| *variant == run.variant) {
            Some((_, swept_runs)) => swept_runs.push(swept),
            None => runs.push((run.variant.clone(), vec![swept])),
        }
        // What is known so far can be looked at while the sweep goes on.
        report::write_sweep(&out, &bench.summed_up(&grid, &planned, &runs))?;
    }
    let sweep = bench.summed_up(&grid, &planned, &runs);
    if common.json {
        say_json(&sweep)?;
    } else {
        let (head, rows) = report::sweep_rows(&sweep);
        let columns: Vec<_> = head.iter().map(|heading| (heading.as_str(), Side::Left)).collect();
        say(lines(&columns, &rows).join("\n"))?;
        for difference in &sweep.differences {
            say(difference.told())?;
        }
        say(format!("page     {}", out.join("sweep.html").display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What was asked, and of whom, is kept in the sweep's folder: measurements of other questions cannot be compared.
fn refuse_otherwise_asked(args: &SweepArgs, opened: &Opened, out: &Path) -> anyhow::Result<()> {
    let mut tuned: Vec<&str> = once_each(&args.contender).into_iter().map(Contender::name).collect();
    tuned.sort_unstable();
    let asked = json!({
        "model": opened.model_name, "corpus_digest": opened.corpus.digest, "sample": args.sample, "contenders": tuned,
    });
    let path = out.join("asked.json");
    let before = match std::fs::read_to_string(&path) {
        Ok(text) => Some(text),
        // A sweep of an earlier version did not say what it asked.
        Err(e) if e.kind() == std::io::ErrorKind::NotFound && out.join("untuned").exists() => {
            Some(String::new())
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
        Err(e) => return Err(Error::io("read", &path)(e).into()),
    };
    if let Some(before) = before {
        if serde_json::from_str(&before).ok() == Some(asked) {
            return Ok(());
        }
        let what = "was made with another model, another corpus, or other --sample or --contender";
        return Err(Error::file(out, what, "name another folder with --out, or remove this one").into());
    }
    eval::keep_in(out, &[("asked.json", format!("{asked:#}\n"))])
}

fn grid(args: &SweepArgs) -> Result<Grid> {
    let refuse = |what: String, remedy: &str| Err(Error::refused(what, remedy.to_owned()));
    if let Some(other) = args.recipe.iter().find(|recipe| !matches!(recipe, Recipe::Qa | Recipe::Documents)) {
        return refuse(
            format!(
                "a sweep asks the corpus's questions, and `{}` does not train on the corpus",
                other.name()
            ),
            "choose qa or documents; `lorascope train` and `eval` measure the other recipes",
        );
    }
    if args.epochs.len() > 1 && args.epochs.len() != args.recipe.len() {
        let what = format!("{} lengths were given for {} recipes", args.epochs.len(), args.recipe.len());
        return refuse(what, "give one for all, or one each in the order of --recipe");
    }
    if let Some(other) = args.contender.iter().find(|contender| !contender.is_tuned()) {
        let what = format!("`{}` is the same after every run", other.name());
        return refuse(what, "it is asked once anyway; name tuned, tuned+rag or both");
    }
    let grid = Grid {
        recipes: args.recipe.clone(),
        ranks: args.rank.clone(),
        wordings: args.wordings.clone(),
        replays: args.replay.clone(),
        n_seeds: args.seeds,
    };
    for variant in grid.variants() {
        variant.config(&flags(args, variant.recipe).config(&Settings::default())?, 1).check()?;
    }
    Ok(grid)
}

/// What the sweep says of a recipe's runs, as `lorascope train` takes it.
fn flags(args: &SweepArgs, recipe: Recipe) -> TrainFlags {
    let place = args.recipe.iter().position(|other| *other == recipe).unwrap_or_default();
    let epochs = args.epochs.get(place).or(args.epochs.first()).copied();
    TrainFlags { recipe: Some(recipe), epochs, lr: args.lr, ..TrainFlags::default() }
}

/// Every run, one seed after the other, so that what is there early covers every combination.
fn planned(
    args: &SweepArgs,
    (grid, settings): (&Grid, &Settings),
    opened: &Opened,
    out: &Path,
) -> anyhow::Result<Vec<Planned>> {
    let mut planned = Vec::new();
    for variant in grid.variants() {
        let mut common = flags(args, variant.recipe).config(settings)?;
        // All wordings decide the length.
        let (_, check) = prepare(&opened.model, &opened.corpus, &common)?;
        let n_steps = common.n_steps(check.n_examples);
        common.steps = Some(n_steps);
        common.eval_every = n_steps.div_ceil(N_MEASUREMENTS);
        let n_tokens = common.epochs * check.n_tokens as f64;
        for seed in 1..=grid.n_seeds as u64 {
            let config = variant.config(&common, seed);
            config.check()?;
            let folder = out.join(variant.folder(seed));
            planned.push(Planned { variant: variant.clone(), seed, config, folder, n_tokens });
        }
    }
    planned.sort_by_key(|run| run.seed);
    Ok(planned)
}

/// Tokens and seconds of the runs made so far.
#[derive(Debug, Default)]
struct Pace {
    n_tokens: f64,
    seconds: f64,
}

impl Pace {
    fn note(&mut self, n_tokens: f64, seconds: f64) {
        self.n_tokens += n_tokens;
        self.seconds += seconds;
    }

    fn left(&self, n_tokens: f64) -> String {
        if self.n_tokens == 0.0 {
            return String::new();
        }
        format!("; about {} left in all", seconds(n_tokens * self.seconds / self.n_tokens))
    }
}

/// What all runs share.
struct Bench<'a> {
    opened: &'a Opened,
    desk: Desk<'a>,
    known: BaseKnowledge,
    untuned: Vec<Mark>,
    args: &'a SweepArgs,
    cancel: &'a Cancel,
}

impl<'a> Bench<'a> {
    fn new(args: &'a SweepArgs, opened: &'a Opened, out: &Path, cancel: &'a Cancel) -> anyhow::Result<Self> {
        let desk = eval::desk(opened, None);
        let folder = out.join("untuned");
        let mut progress = Progress::new();
        progress.update("common knowledge of the base model");
        let known = BaseKnowledge::of(&opened.model, cancel)?;
        if !folder.join("eval.json").is_file() {
            let asked = Asked {
                contenders: &opened.contenders,
                wordings: &Wording::ALL,
                sample: args.sample,
                n_trained: args.wordings.iter().copied().max().unwrap_or(usize::MAX),
            };
            let (outcomes, _) = eval::examined(&desk, &opened.corpus, asked, None, cancel)?;
            eval::keep_in(&folder, &eval::files(&eval::result(&outcomes, None)?, &outcomes)?)?;
        }
        let untuned = marks(&folder)?;
        Ok(Self { opened, desk, known, untuned, args, cancel })
    }

    /// The run, trained and measured as far as it is not; `None` when broken off.
    fn made(
        &self,
        run: &Planned,
        name: &str,
        (n_left, pace): (f64, &Pace),
    ) -> anyhow::Result<Option<SweptRun>> {
        if !run.is_measured() {
            if !self.trained(run, name, (n_left, pace))? {
                return Ok(None);
            }
            self.measured(run, name)?;
        }
        let path = run.folder.join("report/eval.json");
        let text = std::fs::read_to_string(&path).map_err(Error::io("read", &path))?;
        let value: Value = serde_json::from_str(&text)
            .map_err(|e| Error::file(&path, e.to_string(), "remove it; the same command measures again"))?;
        let number = |name: &str| value["forgetting"][name].as_f64().unwrap_or(f64::NAN);
        let elapsed = |event: &Value| event["elapsed_s"].as_f64();
        Ok(Some(SweptRun {
            seed: run.seed,
            marks: marks(&run.folder.join("report"))?,
            general_perplexity: number("tuned_general_perplexity"),
            kl_from_base: number("kl_from_base"),
            quiz_right: number("tuned_quiz_right") as usize,
            train_s: RunFolder::metrics(&run.folder)?.iter().rev().find_map(elapsed).unwrap_or_default(),
        }))
    }

    /// Trains, or goes on with what was begun; whether it came to the end.
    fn trained(&self, run: &Planned, name: &str, (n_left, pace): (f64, &Pace)) -> anyhow::Result<bool> {
        let Opened { model, corpus, .. } = self.opened;
        let record = RunRecord::new(&self.opened.model_name, corpus, &run.config);
        let folder = if RunFolder::is_at(&run.folder) {
            let (folder, begun) = RunFolder::open(&run.folder)?;
            let same = (&begun.model, &begun.corpus_digest, &begun.train);
            if same != (&record.model, &record.corpus_digest, &record.train) {
                let what = "another run is kept here, with another model, corpus or settings";
                return Err(Error::file(&run.folder, what, "name another folder with --out").into());
            }
            if RunSummary::read(&run.folder)?.state == RunState::Completed {
                return Ok(true);
            }
            folder
        } else {
            RunFolder::create(&run.folder, &record)?
        };
        eprintln!("{name}{}", pace.left(n_left));
        let controls = RunControls::new();
        let mut sink =
            Sink { progress: Progress::new(), name, cancel: self.cancel, controls: &controls, n_steps: 0 };
        let job = Job { model, corpus, config: &run.config, folder: &folder, controls: &controls };
        perform(job, &mut sink)?;
        Ok(!self.cancel.is_cancelled())
    }

    fn measured(&self, run: &Planned, name: &str) -> anyhow::Result<()> {
        let Opened { model, corpus, .. } = self.opened;
        let adapter = Adapter::load(&run.folder.join("adapter"), model.decoder.config())?;
        let digest = adapter.digest()?;
        let tuned = crate::lab::Tuned {
            adapter: &adapter,
            step: run.config.steps,
            scale: 1.0,
            digest: Some(digest.as_str()),
        };
        let asked = Asked {
            contenders: &self.args.contender,
            wordings: &Wording::ALL,
            sample: self.args.sample,
            n_trained: run.config.n_wordings(),
        };
        let (outcomes, _) = eval::examined(&self.desk, corpus, asked, Some(tuned), self.cancel)?;
        Progress::new().update(&format!("{name}: what was forgotten"));
        let forgot = forgetting(model, &self.known, Some((&adapter, 1.0)), self.cancel)?;
        let result = eval::result(&outcomes, Some(&forgot))?;
        eval::keep_in(&run.folder.join("report"), &eval::files(&result, &outcomes)?)
    }

    fn summed_up(&self, grid: &Grid, planned: &[Planned], runs: &[(Variant, Vec<SweptRun>)]) -> Sweep {
        let known = forgetting(&self.opened.model, &self.known, None, self.cancel).ok();
        Sweep {
            grid: grid.clone(),
            model: self.opened.model_name.clone(),
            corpus: self.opened.corpus.name.clone(),
            corpus_digest: self.opened.corpus.digest.clone(),
            kernels: crate::kernels::level().name().to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            n_planned: planned.len(),
            base: Base {
                recall: shares(&[&self.untuned]),
                general_perplexity: known.map(|known| known.base_general_perplexity),
                quiz_right: known.map(|known| known.base_quiz_right),
                n_quiz: known.map_or(0, |known| known.n_quiz),
            },
            rows: runs.iter().filter_map(|(variant, swept)| Row::of(variant, swept)).collect(),
            differences: differences(runs, &self.untuned),
            train_s: runs.iter().flat_map(|(_, swept)| swept).map(|run| run.train_s).sum(),
        }
    }
}

fn marks(folder: &Path) -> anyhow::Result<Vec<Mark>> {
    let path = folder.join("answers.jsonl");
    let text = std::fs::read_to_string(&path).map_err(Error::io("read", &path))?;
    let parse = |(i, line): (usize, &str)| {
        let what =
            |e: serde_json::Error| Error::Line { path: path.clone(), line: i + 1, what: e.to_string() };
        Ok(serde_json::from_str(line).map_err(what)?)
    };
    text.lines().enumerate().map(parse).collect()
}

/// One line of progress a run.
struct Sink<'a> {
    progress: Progress,
    name: &'a str,
    cancel: &'a Cancel,
    controls: &'a RunControls,
    n_steps: usize,
}

impl TrainSink for Sink<'_> {
    fn note(&mut self, event: TrainEvent) {
        match event {
            TrainEvent::Started { n_steps, .. } => self.n_steps = n_steps,
            TrainEvent::Stepped(report) => self.progress.update(&format!(
                "{}: step {} of {}, loss {:.3}, {:.0} tok/s",
                self.name, report.step, self.n_steps, report.loss, report.tokens_per_s
            )),
            _ => {}
        }
        if self.cancel.is_cancelled() {
            self.controls.order(RunControl::StopAndSave);
        }
    }
}
