//! What has been measured of a run?

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use crate::corpus::Wording;
use crate::error::{Error, Result};
use crate::lab::{Contender, Cost, wilson};
use crate::meter::Spent;
use crate::run::{RunFolder, RunRecord, RunState, RunSummary, folders};
use crate::train::{Recipe, TrainConfig};

/// How many of so many.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Share {
    /// How many.
    pub count: usize,
    /// Of how many.
    pub n: usize,
}

impl Share {
    /// From 0 to 1.
    pub fn value(self) -> f64 {
        self.count as f64 / self.n.max(1) as f64
    }

    /// Wilson's 95 % interval.
    pub fn ci95(self) -> [f64; 2] {
        let (low, high) = wilson(self.count, self.n);
        [low, high]
    }

    fn of(share: f64, n: usize) -> Self {
        Self { count: (share * n as f64).round() as usize, n }
    }
}

/// What a run shows, as far as it was measured.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Evidence {
    /// The run's name.
    pub run: String,
    /// Its recipe.
    pub recipe: Option<Recipe>,
    /// Recipe and what is particular about it.
    pub about: String,
    /// Model, corpus and all settings but the seed. Runs with the same are repetitions.
    pub ground: String,
    /// Questions of unseen wordings answered right; of a task, its held-out examples.
    pub unseen: BTreeMap<Contender, Share>,
    /// The p of the fine-tuned model against base + RAG on unseen wordings.
    pub p_against_rag: Option<f64>,
    /// Gibberish among all answers of the fine-tuned model.
    pub gibberish: Option<Share>,
    /// Perplexity of general text, of the base and fine-tuned.
    pub general: Option<[f64; 2]>,
    /// The same of its verse.
    pub verse: Option<[f64; 2]>,
    /// Questions of common knowledge answered right, by the base and fine-tuned.
    pub quiz: Option<[Share; 2]>,
    /// Weights trained, and all.
    pub weights: Option<(usize, usize)>,
    /// What training took.
    pub training: Option<Spent>,
    /// What else was spent.
    pub cost: Option<Cost>,
}

impl Evidence {
    /// What is known of a run: from `lorascope eval`, and where that was not done from what was measured on its way.
    ///
    /// # Errors
    /// When a file is damaged.
    pub fn read(run: &Path) -> Result<Self> {
        let summary = RunSummary::read(run)?;
        let train = &summary.record.train;
        let ground = ground(&summary.record);
        let kept = summary.kept_step()?;
        let mut evidence = Self {
            run: summary.name(),
            recipe: Some(train.recipe),
            about: about(train),
            ground,
            ..Self::default()
        };
        if summary.step > 0 {
            evidence.on_the_way(&RunFolder::metrics(run)?, summary.state);
        }
        for name in ["eval.json", "task.json"] {
            let path = run.join("report").join(name);
            if path.is_file() {
                let text = fs::read_to_string(&path).map_err(Error::io("read", &path))?;
                let damaged = |e: serde_json::Error| {
                    Error::file(&path, e.to_string(), "remove it, or run `lorascope eval` again")
                };
                let value: Value = serde_json::from_str(&text).map_err(damaged)?;
                // What was measured before the run went on is of other weights.
                if value["step"].as_u64().is_none_or(|step| step == kept as u64) {
                    evidence.note(&value).map_err(damaged)?;
                }
            }
        }
        Ok(evidence)
    }

    /// What the runs in a folder show, the newest last. Runs that cannot be read are passed over.
    ///
    /// # Errors
    /// When the folder is there and cannot be read.
    pub fn of_runs(runs: &Path) -> Result<Vec<Self>> {
        Ok(folders(runs)?.iter().filter_map(|run| Self::read(run).ok()).collect())
    }

    /// What was measured on a run's way: what it took so far, and, of a run that came to its end, what it left.
    pub(super) fn on_the_way(&mut self, metrics: &[Value], state: RunState) {
        let last = |event: &str| metrics.iter().rev().find(|line| line["event"] == event);
        if let Some(n_trainable) = last("started").and_then(|line| line["n_trainable"].as_u64()) {
            self.weights = Some((n_trainable as usize, 0));
        }
        let spent = |line: &Value| {
            let seconds = line["elapsed_s"].as_f64()?;
            Some(Spent { seconds, cpu_seconds: line["cpu_s"].as_f64(), joules: line["energy_j"].as_f64() })
        };
        self.training = last("checkpoint").and_then(spent).or_else(|| metrics.iter().rev().find_map(spent));
        let end = last("started").map(|line| &line["n_steps"]);
        let at_end = |eval: &&Value| state == RunState::Completed && Some(&eval["step"]) == end;
        let Some(eval) = last("eval").filter(at_end) else { return };
        let unseen = (&eval["recall"]["unseen"], &eval["asked"]["unseen"]);
        if let (Some(share), Some(n)) = (unseen.0.as_f64(), unseen.1.as_u64().filter(|n| *n > 0)) {
            self.unseen.insert(Contender::Tuned, Share::of(share, n as usize));
        }
        let first = metrics.iter().find(|line| line["event"] == "eval" && line["step"] == 0);
        let general = |line: &Value| line["general_perplexity"].as_f64().filter(|p| *p > 1.0);
        self.general = first.and_then(general).zip(general(eval)).map(Into::into);
    }

    /// What `eval.json` or `task.json` has.
    fn note(&mut self, value: &Value) -> serde_json::Result<()> {
        let share = |contender: Contender, wording: Wording, key: &str| {
            let score = &value["contenders"][contender.name()][wording.name()];
            Some(Share::of(score[key].as_f64()?, score["n"].as_u64()? as usize))
        };
        for contender in Contender::ALL {
            if let Some(unseen) = share(contender, Wording::Unseen, "contains") {
                self.unseen.insert(contender, unseen);
            }
        }
        let broken = |key| Wording::ALL.into_iter().filter_map(move |w| share(Contender::Tuned, w, key));
        let sum = |key| broken(key).map(|share| share.count).sum::<usize>();
        let n: usize = broken("degenerate").map(|share| share.n).sum();
        if n > 0 {
            self.gibberish =
                Some(Share { count: sum("degenerate") - sum("off_type").min(sum("degenerate")), n });
        }
        let rivals = |comparison: &&Value| {
            let pair = [&comparison["first"], &comparison["second"]];
            comparison["wording"] == "unseen" && pair == ["base+rag", "tuned"]
        };
        let comparisons = value["comparisons"].as_array().into_iter().flatten();
        let p = comparisons.clone().find(rivals).and_then(|found| found["p"].as_f64());
        self.p_against_rag = p.or(self.p_against_rag);
        let forgot = &value["forgetting"];
        let pair = |base: &str, tuned: &str| Some([forgot[base].as_f64()?, forgot[tuned].as_f64()?]);
        self.general = pair("base_general_perplexity", "tuned_general_perplexity").or(self.general);
        self.verse = pair("base_verse_perplexity", "tuned_verse_perplexity").or(self.verse);
        let n_quiz = forgot["n_quiz"].as_u64().unwrap_or(0) as usize;
        let quiz = pair("base_quiz_right", "tuned_quiz_right").filter(|_| n_quiz > 0);
        let shares = quiz.map(|pair| pair.map(|right| Share { count: right as usize, n: n_quiz }));
        self.quiz = shares.or(self.quiz);
        if let (Some(n), Some((trained, _))) = (value["n_parameters"].as_u64(), self.weights) {
            self.weights = Some((trained, n as usize));
        }
        if value["cost"].is_object() {
            self.cost = Some(Cost::deserialize(&value["cost"])?);
        }
        Ok(())
    }
}

/// All that two runs must share to be repetitions.
fn ground(record: &RunRecord) -> String {
    let TrainConfig { seed, eval_every, checkpoint_every, recall_sample, .. } =
        TrainConfig::defaults(record.train.recipe);
    let config = TrainConfig { seed, eval_every, checkpoint_every, recall_sample, ..record.train.clone() };
    format!("{} on {}: {config:?}", record.model, record.corpus.display())
}

/// Recipe and what is particular about it: what other runs of the recipe need not share.
fn about(train: &TrainConfig) -> String {
    let wordings = train.wordings.map(|n| format!("{n} wording{}", if n == 1 { "" } else { "s" }));
    let replay = (train.replay > 0.0).then(|| format!("{:.0} % replay", train.replay * 100.0));
    let kl = (train.kl > 0.0).then(|| format!("KL {}", train.kl));
    let rank = Some(format!("rank {}", train.lora.rank));
    let usual = TrainConfig::defaults(train.recipe);
    let epochs =
        (train.epochs.to_bits() != usual.epochs.to_bits()).then(|| format!("{} epochs", train.epochs));
    let length = train.steps.map(|n| format!("{n} updates")).or(epochs);
    let size = |config: &TrainConfig| config.batch * config.accumulation;
    let batch = (size(train) != size(&usual)).then(|| format!("batches of {}", size(train)));
    let lr = (train.lr.to_bits() != usual.lr.to_bits()).then(|| format!("lr {}", train.lr));
    let parts = [Some(train.recipe.name().to_owned()), wordings, replay, kl, rank, length, batch, lr];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}
