//! What do many runs say together, each with other settings or another seed?

mod difference;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::contender::Contender;
use super::statistics::wilson;
use crate::corpus::Wording;
use crate::train::{Recipe, TrainConfig};
pub use difference::{Difference, differences};

/// Which settings a sweep goes through: every combination, as often as there are seeds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Grid {
    /// What is trained on.
    pub recipes: Vec<Recipe>,
    /// LoRA ranks.
    pub ranks: Vec<usize>,
    /// Trained wordings of each fact; a recipe that uses none has no such setting.
    pub wordings: Vec<usize>,
    /// Shares of general text.
    pub replays: Vec<f64>,
    /// Runs of each combination.
    pub n_seeds: usize,
}

/// One combination of settings, without the seed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Variant {
    /// What is trained on.
    pub recipe: Recipe,
    /// LoRA rank.
    pub rank: usize,
    /// Trained wordings of each fact, where the recipe uses them.
    pub wordings: Option<usize>,
    /// Share of general text.
    pub replay: f64,
}

impl Grid {
    /// Every combination once.
    pub fn variants(&self) -> Vec<Variant> {
        let mut all: Vec<Variant> = Vec::new();
        for &recipe in &self.recipes {
            let given: Vec<Option<usize>> = match recipe {
                Recipe::Qa => self.wordings.iter().copied().map(Some).collect(),
                _ => vec![None],
            };
            for &rank in &self.ranks {
                for &wordings in &given {
                    for &replay in &self.replays {
                        let variant = Variant { recipe, rank, wordings, replay };
                        if !all.contains(&variant) {
                            all.push(variant);
                        }
                    }
                }
            }
        }
        all
    }
}

impl Variant {
    /// In words, as a table names it.
    pub fn told(&self) -> String {
        let Self { recipe, rank, wordings, replay } = self;
        let wordings = match wordings {
            Some(1) => ", 1 wording".to_owned(),
            Some(n) => format!(", {n} wordings"),
            None => String::new(),
        };
        let replay = if *replay > 0.0 { format!(", {:.0} % replay", replay * 100.0) } else { String::new() };
        format!("{}, rank {rank}{wordings}{replay}", recipe.name())
    }

    /// The name of a run's folder.
    pub fn folder(&self, seed: u64) -> String {
        let wordings = self.wordings.map_or(String::new(), |n| format!("-wordings{n}"));
        format!("{}-rank{}{wordings}-replay{}-seed{seed}", self.recipe.name(), self.rank, self.replay)
    }

    /// The settings of a run.
    pub fn config(&self, common: &TrainConfig, seed: u64) -> TrainConfig {
        let mut config = TrainConfig { recipe: self.recipe, replay: self.replay, seed, ..common.clone() };
        config.wordings = self.wordings;
        config.lora.rank = self.rank;
        config.lora.alpha = 2.0 * self.rank as f64;
        config
    }

    /// The one setting in which two combinations differ, as `(what, mine, the other's)`; `None` where they differ in
    /// none or in several.
    fn only_difference(&self, other: &Self) -> Option<(&'static str, String, String)> {
        let wordings = |v: &Self| v.wordings.map_or_else(|| "none".to_owned(), |n| n.to_string());
        let replay = |v: &Self| format!("{:.0} %", v.replay * 100.0);
        let sides = [
            ("wordings", wordings(self), wordings(other)),
            ("replay", replay(self), replay(other)),
            ("rank", self.rank.to_string(), other.rank.to_string()),
        ];
        let mut differing = sides.into_iter().filter(|(_, mine, theirs)| mine != theirs);
        let only = differing.next().filter(|_| self.recipe == other.recipe)?;
        differing.next().is_none().then_some(only)
    }
}

/// One answer, as `answers.jsonl` keeps it: what is needed to count it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Mark {
    /// Who answered.
    pub contender: Contender,
    /// The fact's id.
    pub fact: String,
    /// How the question relates to the training data.
    pub wording: Wording,
    /// The question.
    pub question: String,
    /// Whether it was right.
    pub contains: bool,
    /// How the answer is broken, if it is.
    pub degenerate: Option<String>,
}

/// One finished run of a combination.
#[derive(Debug, Clone, PartialEq)]
pub struct SweptRun {
    /// Its seed.
    pub seed: u64,
    /// Its answers.
    pub marks: Vec<Mark>,
    /// Perplexity of general text after it.
    pub general_perplexity: f64,
    /// Divergence from the base on the base's own answers, in nats per token.
    pub kl_from_base: f64,
    /// Questions of common knowledge right after it.
    pub quiz_right: usize,
    /// Seconds of training, measurements included.
    pub train_s: f64,
}

/// A share of right answers, over all seeds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Share {
    /// Questions asked; one that was asked after each of several seeds counts once.
    pub n: usize,
    /// Share of answers that are right, over all seeds.
    pub contains: f64,
    /// Wilson's 95 % interval for `n` questions, so that more seeds do not make it look surer than its questions allow.
    pub ci95: [f64; 2],
    /// The lowest and the highest share of a single seed.
    pub by_seed: [f64; 2],
    /// Share of broken answers.
    pub degenerate: f64,
}

impl Share {
    /// Counts the answers of several runs to the same questions; `None` where there is none.
    pub fn of(runs: &[Vec<&Mark>]) -> Option<Self> {
        let of_run = |marks: &Vec<&Mark>| {
            let right = marks.iter().filter(|mark| mark.contains).count();
            right as f64 / marks.len().max(1) as f64
        };
        let all: Vec<&Mark> = runs.iter().flatten().copied().collect();
        let n = all.iter().map(|mark| (&mark.fact, &mark.question)).collect::<BTreeSet<_>>().len();
        if n == 0 {
            return None;
        }
        let shares: Vec<f64> = runs.iter().filter(|marks| !marks.is_empty()).map(of_run).collect();
        let share = |count: usize| count as f64 / all.len() as f64;
        let contains = share(all.iter().filter(|mark| mark.contains).count());
        let (low, high) = wilson((contains * n as f64).round() as usize, n);
        Some(Self {
            n,
            contains,
            ci95: [low, high],
            by_seed: [shares.iter().copied().fold(1.0, f64::min), shares.iter().copied().fold(0.0, f64::max)],
            degenerate: share(all.iter().filter(|mark| mark.degenerate.is_some()).count()),
        })
    }
}

/// The mean over seeds, with the lowest and the highest.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// The mean.
    pub mean: f64,
    /// The lowest and the highest.
    pub range: [f64; 2],
}

impl Spread {
    fn of(values: impl Iterator<Item = f64> + Clone) -> Self {
        let n = values.clone().count().max(1) as f64;
        let range = [values.clone().fold(f64::INFINITY, f64::min), values.clone().fold(0.0, f64::max)];
        Self { mean: values.sum::<f64>() / n, range }
    }
}

/// What no run changes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Base {
    /// What each contender answered right.
    pub recall: BTreeMap<Contender, BTreeMap<Wording, Share>>,
    /// Perplexity of general text.
    pub general_perplexity: Option<f64>,
    /// Questions of common knowledge answered right.
    pub quiz_right: Option<usize>,
    /// Of so many.
    pub n_quiz: usize,
}

/// Everything a sweep found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Sweep {
    /// The settings gone through.
    pub grid: Grid,
    /// The model.
    pub model: String,
    /// The corpus's name.
    pub corpus: String,
    /// Its SHA-256.
    pub corpus_digest: String,
    /// The kernels that did the arithmetic.
    pub kernels: String,
    /// The version of lorascope.
    pub version: String,
    /// Runs there will be in all.
    pub n_planned: usize,
    /// What no run changes.
    pub base: Base,
    /// A row a combination.
    pub rows: Vec<Row>,
    /// The differences worth telling.
    pub differences: Vec<Difference>,
    /// Seconds of training in all.
    pub train_s: f64,
}

/// One row of a sweep's table.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// The settings.
    pub variant: Variant,
    /// Runs that are finished and measured.
    pub n_runs: usize,
    /// What each contender answered right.
    pub recall: BTreeMap<Contender, BTreeMap<Wording, Share>>,
    /// Perplexity of general text.
    pub general_perplexity: Spread,
    /// Divergence from the base, in nats per token.
    pub kl_from_base: Spread,
    /// Questions of common knowledge answered right.
    pub quiz_right: Spread,
    /// Seconds of training.
    pub train_s: Spread,
}

impl Row {
    /// Sums up the runs of a combination; `None` where none is finished.
    pub fn of(variant: &Variant, runs: &[SweptRun]) -> Option<Self> {
        let spread = |of: fn(&SweptRun) -> f64| Spread::of(runs.iter().map(of));
        let marks: Vec<&[Mark]> = runs.iter().map(|run| run.marks.as_slice()).collect();
        (!runs.is_empty()).then(|| Self {
            variant: variant.clone(),
            n_runs: runs.len(),
            recall: shares(&marks),
            general_perplexity: spread(|run| run.general_perplexity),
            kl_from_base: spread(|run| run.kl_from_base),
            quiz_right: spread(|run| run.quiz_right as f64),
            train_s: spread(|run| run.train_s),
        })
    }
}

/// What each contender answered right, by wording, over several runs.
pub fn shares(runs: &[&[Mark]]) -> BTreeMap<Contender, BTreeMap<Wording, Share>> {
    let mut all: BTreeMap<Contender, BTreeMap<Wording, Share>> = BTreeMap::new();
    for contender in Contender::ALL {
        for wording in Wording::ALL {
            let fits = |m: &&Mark| m.contender == contender && m.wording == wording;
            let own: Vec<Vec<&Mark>> = runs.iter().map(|marks| marks.iter().filter(fits).collect()).collect();
            if let Some(share) = Share::of(&own) {
                all.entry(contender).or_default().insert(wording, share);
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid() -> Grid {
        Grid {
            recipes: vec![Recipe::Documents, Recipe::Qa],
            ranks: vec![16],
            wordings: vec![1, 3],
            replays: vec![0.0, 0.1],
            n_seeds: 3,
        }
    }

    fn mark(contender: Contender, i: usize, contains: bool) -> Mark {
        Mark {
            contender,
            fact: format!("fact{i}"),
            wording: Wording::Unseen,
            question: format!("question {i}"),
            contains,
            degenerate: (i == 0).then(|| "empty".to_owned()),
        }
    }

    fn run(seed: u64, n_right: usize) -> SweptRun {
        SweptRun {
            seed,
            marks: (0..10).map(|i| mark(Contender::Tuned, i, i < n_right)).collect(),
            general_perplexity: 30.0 + seed as f64,
            kl_from_base: 0.1,
            quiz_right: 40,
            train_s: 60.0,
        }
    }

    fn close(a: [f64; 2], b: [f64; 2]) {
        assert!((a[0] - b[0]).abs() < 1e-12 && (a[1] - b[1]).abs() < 1e-12, "{a:?} {b:?}");
    }

    #[test]
    fn a_recipe_without_wordings_is_run_once_for_all_of_them() {
        let variants = grid().variants();
        let told: Vec<String> = variants.iter().map(Variant::told).collect();
        assert_eq!(told[0], "documents, rank 16");
        assert_eq!(told[1], "documents, rank 16, 10 % replay");
        assert_eq!(told[2], "qa, rank 16, 1 wording");
        assert_eq!(variants.len(), 6);
        let folders: BTreeSet<String> =
            variants.iter().flat_map(|v| (1..=3).map(move |seed| v.folder(seed))).collect();
        assert_eq!(folders.len(), 18);
        assert!(folders.contains("qa-rank16-wordings3-replay0.1-seed2"));
    }

    #[test]
    fn more_seeds_make_no_surer_interval_than_their_questions() {
        let one = Row::of(&grid().variants()[2], &[run(1, 5)]).unwrap();
        let three = Row::of(&grid().variants()[2], &[run(1, 5), run(2, 4), run(3, 6)]).unwrap();
        let share = |row: &Row| row.recall[&Contender::Tuned][&Wording::Unseen];
        assert_eq!((share(&one).n, share(&three).n), (10, 10));
        assert!((share(&three).contains - 0.5).abs() < 1e-12);
        close(share(&one).ci95, share(&three).ci95);
        close(share(&three).by_seed, [0.4, 0.6]);
        assert!((share(&three).degenerate - 0.1).abs() < 1e-12);
        assert_eq!(three.general_perplexity, Spread { mean: 32.0, range: [31.0, 33.0] });
        assert_eq!(Row::of(&grid().variants()[2], &[]), None);
    }

    #[test]
    fn combinations_that_differ_in_one_setting_are_compared_and_all_with_retrieval() {
        let variants = grid().variants();
        let runs: Vec<(Variant, Vec<SweptRun>)> = vec![
            (variants[2].clone(), vec![run(1, 2), run(2, 2)]),
            (variants[4].clone(), vec![run(1, 9), run(2, 9)]),
        ];
        let untuned: Vec<Mark> = (0..10).map(|i| mark(Contender::BaseRag, i, true)).collect();
        let all = differences(&runs, &untuned);
        let told: Vec<String> = all.iter().map(Difference::told).collect();
        assert_eq!(all.len(), 3, "{told:?}");
        assert!(
            told[0].starts_with("qa, rank 16, 1 wording: wordings 3 against 1, unseen: +70 points"),
            "{told:?}"
        );
        assert!(all[0].ci95[0] > 0.0);
        assert!(
            told[2].starts_with("base+rag against qa, rank 16, 3 wordings, unseen: +10 points"),
            "{told:?}"
        );
        assert!(told[2].ends_with("no difference can be told"), "{told:?}");
    }
}
