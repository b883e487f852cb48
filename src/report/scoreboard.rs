//! Who answered how many questions? What `lorascope eval` has found out about the run.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use crate::corpus::Wording;
use crate::error::{Error, Result};
use crate::lab::{Contender, Cost, Forgetting, Retrieved};

/// The file, in the run's report folder.
pub(super) const FILE: &str = "eval.json";

/// How one contender answered the questions of one wording. Shares are between 0 and 1.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Score {
    /// Questions asked.
    pub(super) n: usize,
    /// Answers that contain a right one.
    pub(super) contains: f64,
    /// Answers that are a right one and nothing else.
    pub(super) exact: Option<f64>,
    /// Mean overlap of words with the right answer.
    pub(super) f1: Option<f64>,
    /// The 95 % confidence interval of `contains`.
    pub(super) ci95: Option<[f64; 2]>,
    /// Answers that repeat themselves, say nothing, or are of another kind than was asked for.
    pub(super) degenerate: Option<f64>,
    /// Answers of another kind than was asked for.
    pub(super) off_type: Option<f64>,
    /// Of the answers that claim something, those whose claim stands in the passages given.
    pub(super) grounded: Option<f64>,
    /// Mean log-probability of the right answers, in nats a token.
    pub(super) gold_log_prob: Option<f64>,
    /// The median of the worst rank of any of their tokens.
    pub(super) gold_rank: Option<usize>,
}

/// All scores, and what was forgotten.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Scoreboard {
    scores: BTreeMap<(Contender, Wording), Score>,
    /// Who is better than whom on which questions, in words.
    pub(super) comparisons: Vec<String>,
    /// What was forgotten.
    pub(super) forgotten: Forgetting,
    /// The digest of the adapter's weights, as every record has it.
    pub(super) adapter: Option<String>,
    /// What was checked before it was written, in words.
    pub(super) checks: Vec<String>,
    /// How well the right documents were found.
    pub(super) retrieval: Option<Retrieved>,
    /// What it cost.
    pub(super) cost: Option<Cost>,
}

impl Scoreboard {
    /// Reads the scoreboard in `folder`, if there is one.
    ///
    /// # Errors
    /// When the file is there and damaged.
    pub(super) fn read(folder: &Path) -> Result<Option<Self>> {
        let path = folder.join(FILE);
        if !path.is_file() {
            return Ok(None);
        }
        let text = fs::read_to_string(&path).map_err(Error::io("read", &path))?;
        let damaged = |e: serde_json::Error| {
            Error::file(
                &path,
                format!("this is no scoreboard: {e}"),
                "remove it, or run `lorascope eval` again",
            )
        };
        Self::from_json(&serde_json::from_str(&text).map_err(damaged)?).map(Some).map_err(damaged)
    }

    fn from_json(value: &Value) -> serde_json::Result<Self> {
        let mut scores = BTreeMap::new();
        for contender in Contender::ALL {
            for wording in Wording::ALL {
                let score = &value["contenders"][contender.name()][wording.name()];
                if score.is_object() {
                    let score = Score::deserialize(score)?;
                    scores.extend((score.n > 0).then_some(((contender, wording), score)));
                }
            }
        }
        let told = |comparison: &Value| Some(comparison["words"].as_str()?.to_owned());
        let comparisons = value["comparisons"].as_array().into_iter().flatten().filter_map(told).collect();
        Ok(Self {
            scores,
            comparisons,
            forgotten: Option::deserialize(&value["forgetting"])?.unwrap_or_default(),
            adapter: value["adapter"].as_str().map(str::to_owned),
            checks: Option::deserialize(&value["checks"])?.unwrap_or_default(),
            retrieval: Option::deserialize(&value["retrieval"])?,
            cost: Option::deserialize(&value["cost"])?,
        })
    }

    /// A contender's score on a wording, if it was asked.
    pub(super) fn score(&self, contender: Contender, wording: Wording) -> Option<&Score> {
        self.scores.get(&(contender, wording))
    }

    /// The contenders that were asked.
    pub(super) fn contenders(&self) -> Vec<Contender> {
        let was_asked = |contender: &Contender| self.scores.keys().any(|(asked, _)| asked == contender);
        Contender::ALL.into_iter().filter(was_asked).collect()
    }

    /// The wordings that were asked.
    pub(super) fn wordings(&self) -> Vec<Wording> {
        let was_asked = |wording: &Wording| self.scores.keys().any(|(_, asked)| asked == wording);
        Wording::ALL.into_iter().filter(was_asked).collect()
    }
}
