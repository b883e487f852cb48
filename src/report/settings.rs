//! How is a run repeated?

use std::fs::File;
use std::io;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::page::Cell;
use super::{Facts, page::Table};
use crate::app::words::{percent, rate, thousands};
use crate::error::{Error, Result};
use crate::kernels::Level;
use crate::run::{RunRecord, date_and_time};
use crate::train::{Schedule, TrainConfig};

/// The command that repeats the run, whatever the user's own settings are: one option, or a few that
/// belong together, a piece. Paths with spaces are quoted for a shell.
pub fn command_line(record: &RunRecord) -> Vec<String> {
    let (train, lora) = (&record.train, &record.train.lora);
    // The kernels decide the last digits.
    let is_level = Level::named(&record.kernels).is_some();
    let variable = if is_level { format!("LORASCOPE_KERNELS={} ", record.kernels) } else { String::new() };
    let length = match train.steps {
        Some(steps) => format!("--steps {steps}"),
        None => format!("--epochs {}", train.epochs),
    };
    let targets: Vec<&str> = lora.targets.iter().map(|target| target.name()).collect();
    let rslora = if lora.rslora { " --rslora" } else { "" };
    let wordings = train.wordings.map_or(String::new(), |n| format!(" --wordings {n}"));
    vec![
        format!(
            "{variable}lorascope train --recipe {} --model {}",
            train.recipe.name(),
            quoted(&record.model)
        ),
        format!("--corpus {}", quoted(&record.corpus.display().to_string())),
        format!(
            "{length} --batch {} --accumulate {} --max-tokens {}",
            train.batch, train.accumulation, train.max_tokens
        ),
        format!("--lr {} --warmup {} --schedule {}", train.lr, train.warmup_steps, schedule(train.schedule)),
        format!("--weight-decay {} --clip {} --seed {}", train.weight_decay, train.clip, train.seed),
        format!("--rank {} --alpha {}{rslora} --targets {}", lora.rank, lora.alpha, targets.join(",")),
        format!(
            "--eval-every {} --checkpoint-every {} --recall-sample {}",
            train.eval_every, train.checkpoint_every, train.recall_sample
        ),
        format!("--replay {} --kl {}{wordings}", train.replay, train.kl),
    ]
}

/// What the run was made of, and how it learnt.
pub(super) fn table(facts: &Facts) -> Table {
    let (record, history) = (&facts.summary.record, &facts.history);
    let train = &record.train;
    let mut rows = vec![
        ("model", Cell::code(&record.model)),
        ("corpus", Cell::code(record.corpus.display().to_string())),
        ("recipe", Cell::text(train.recipe.name())),
        ("length", Cell::text(length(train))),
        ("examples of one update", Cell::text(batch(train))),
        ("tokens of an example", Cell::text(format!("at most {}", thousands(train.max_tokens as u64)))),
        ("learning rate", Cell::text(learning_rate(train))),
        ("weight decay", Cell::text(train.weight_decay.to_string())),
        (
            "gradient clipped to",
            Cell::text(if train.clip > 0.0 { train.clip.to_string() } else { "not clipped".to_owned() }),
        ),
        ("LoRA", Cell::text(lora(train))),
        ("seed", Cell::text(train.seed.to_string())),
        (
            "recall",
            Cell::text(format!("at most {} questions of each wording, each time", train.recall_sample)),
        ),
    ];
    if let Some(n) = train.wordings {
        rows.push(("wordings of a fact", Cell::text(format!("{n} of the trained ones"))));
    }
    if train.replay > 0.0 {
        rows.push(("general text (replay)", Cell::text(format!("{} of the tokens", percent(train.replay)))));
    }
    if train.kl > 0.0 {
        rows.push(("weight of the divergence from the base", Cell::text(train.kl.to_string())));
    }
    if history.n_trainable > 0 {
        rows.push(("trainable weights", Cell::text(thousands(history.n_trainable as u64))));
    }
    Table::pairs(["setting", "value"], rows)
}

/// What else decides the numbers, to the last digit.
///
/// # Errors
/// When the adapter is there and cannot be read.
pub(super) fn provenance(facts: &Facts) -> Result<Table> {
    let record = &facts.summary.record;
    let mut rows = vec![
        ("lorascope", Cell::text(&record.version)),
        ("kernels", Cell::text(&record.kernels)),
        ("started", Cell::text(format!("{} UTC", date_and_time(record.created_unix_s)))),
        ("corpus, SHA-256", Cell::code(&record.corpus_digest)),
    ];
    let adapter = facts.summary.path.join("adapter").join("adapter_model.safetensors");
    if adapter.is_file() {
        rows.push(("adapter, SHA-256", Cell::code(digest(&adapter)?)));
    }
    if let Some(weights) = facts.scoreboard.as_ref().and_then(|board| board.adapter.as_ref()) {
        rows.push(("its weights, as in answers.jsonl", Cell::code(weights)));
    }
    Ok(Table::pairs(["what", "value"], rows))
}

fn length(train: &TrainConfig) -> String {
    match train.steps {
        Some(steps) => format!("{} steps", thousands(steps as u64)),
        None => format!("{} epochs", train.epochs),
    }
}

fn batch(train: &TrainConfig) -> String {
    match train.accumulation {
        0 | 1 => train.batch.to_string(),
        n => format!("{} x {n}", train.batch),
    }
}

fn learning_rate(train: &TrainConfig) -> String {
    let course = match train.schedule {
        Schedule::Constant => "stays",
        Schedule::Cosine => "falls to zero as half a cosine",
        Schedule::Linear => "falls to zero in a straight line",
    };
    format!("{}, reached over {} steps, then {course}", rate(train.lr), train.warmup_steps)
}

fn lora(train: &TrainConfig) -> String {
    let targets: Vec<&str> = train.lora.targets.iter().map(|target| target.name()).collect();
    let scaling = if train.lora.rslora { ", scaled by alpha / sqrt(rank)" } else { "" };
    format!("rank {}, alpha {}{scaling}, on {}", train.lora.rank, train.lora.alpha, targets.join(", "))
}

fn schedule(schedule: Schedule) -> &'static str {
    match schedule {
        Schedule::Constant => "constant",
        Schedule::Cosine => "cosine",
        Schedule::Linear => "linear",
    }
}

/// A word as a shell reads it.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+:@%=,".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

fn digest(path: &Path) -> Result<String> {
    let mut hasher = Sha256::new();
    let mut file = File::open(path).map_err(Error::io("read", path))?;
    io::copy(&mut file, &mut hasher).map_err(Error::io("read", path))?;
    Ok(format!("{:x}", hasher.finalize()))
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn a_shell_reads_each_word_as_it_was() {
        assert_eq!(quoted("/data/my-corpus_1.2"), "/data/my-corpus_1.2");
        assert_eq!(quoted("my corpus"), "'my corpus'");
        assert_eq!(quoted("it's $HOME"), r"'it'\''s $HOME'");
        assert_eq!(quoted(""), "''");
    }
}
