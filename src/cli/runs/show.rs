//! What is there to know about one run, and what can be done with it next?

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::super::{Common, say, say_json};
use super::{bytes, named, percent, size_of};
use crate::run::{RunFolder, RunState, RunSummary, date_and_time};
use crate::train::checkpoint;

/// Everything about one run.
struct Shown {
    summary: RunSummary,
    /// How it is called in commands.
    called: String,
    /// The first measurement, before anything was learnt.
    first_eval: Option<Value>,
    /// Why it failed, if it did.
    cause: Option<String>,
    elapsed_s: Option<f64>,
    adapter: Option<PathBuf>,
    checkpoints: Vec<usize>,
    bytes: u64,
}

/// Prints it.
pub(super) fn show(runs: &Path, path: &Path, common: &Common) -> anyhow::Result<()> {
    let shown = Shown::read(runs, path)?;
    if common.json { say_json(&shown.fields()?) } else { say(shown.lines()?.join("\n")) }
}

impl Shown {
    fn read(runs: &Path, path: &Path) -> anyhow::Result<Self> {
        let path = std::path::absolute(path)?;
        let summary = RunSummary::read(&path)?;
        let metrics =
            if path.join("metrics.jsonl").is_file() { RunFolder::metrics(&path)? } else { Vec::new() };
        let cause = metrics.last().and_then(|last| last["cause"].as_str()).map(str::to_owned);
        let adapter = path.join("adapter");
        Ok(Self {
            called: named(runs, &path),
            first_eval: metrics.iter().find(|line| line["event"] == "eval" && line["step"] == 0).cloned(),
            cause,
            elapsed_s: metrics.iter().rev().find_map(|line| line["elapsed_s"].as_f64()),
            adapter: Some(adapter).filter(|folder| folder.join("adapter_model.safetensors").is_file()),
            checkpoints: checkpoint::steps(&path.join("checkpoints"))?,
            bytes: size_of(&path),
            summary,
        })
    }

    /// What can be done next: what for, and the command.
    fn next(&self) -> Vec<(&'static str, String)> {
        let run = &self.called;
        let mut next = Vec::new();
        if matches!(self.summary.state, RunState::Unfinished | RunState::Failed) {
            next.push(("resume", format!("lorascope train --resume --run {run}")));
        }
        if self.adapter.is_some() {
            next.push(("ask", format!("lorascope ask QUESTION --contender all --run {run}")));
            next.push(("eval", format!("lorascope eval --run {run}")));
            next.push(("export", format!("lorascope export {run} --format peft")));
        }
        if self.summary.last_eval.is_some() {
            next.push(("report", format!("lorascope report {run}")));
        }
        if self.summary.state != RunState::Running {
            next.push(("remove", format!("lorascope runs rm {run}")));
        }
        next
    }

    fn fields(&self) -> anyhow::Result<Value> {
        let mut fields = super::fields(&self.summary);
        let next: serde_json::Map<String, Value> =
            self.next().into_iter().map(|(what, command)| (what.to_owned(), json!(command))).collect();
        let more = json!({
            "record": serde_json::to_value(&self.summary.record)?,
            "elapsed_s": self.elapsed_s, "first_eval": self.first_eval, "last_eval": self.summary.last_eval,
            "cause": self.cause, "adapter": self.adapter, "checkpoints": self.checkpoints,
            "bytes": self.bytes, "next": next,
        });
        if let (Some(fields), Value::Object(more)) = (fields.as_object_mut(), more) {
            fields.extend(more);
        }
        Ok(fields)
    }

    fn lines(&self) -> anyhow::Result<Vec<String>> {
        let (summary, record) = (&self.summary, &self.summary.record);
        let line = |what: &str, text: String| format!("{what:<21} {text}");
        let mut lines = vec![
            line("run", summary.name()),
            line("state", summary.state.name().to_owned()),
            line("folder", format!("{} ({})", summary.path.display(), bytes(self.bytes))),
            line("started", format!("{} UTC", date_and_time(record.created_unix_s))),
            line("made by", format!("lorascope {}, {} kernels", record.version, record.kernels)),
            line("model", record.model.clone()),
            line("corpus", record.corpus.display().to_string()),
            line("corpus digest", record.corpus_digest.clone()),
        ];
        lines.extend(self.cause.iter().map(|cause| line("failed because", cause.clone())));
        lines.push("\nsettings".to_owned());
        let settings = serde_json::to_value(&record.train)?;
        lines.extend(flat("", &settings).into_iter().map(|(name, value)| line(&format!("  {name}"), value)));
        lines.push("\nmeasured".to_owned());
        lines.extend(self.measured().into_iter().map(|(name, value)| line(&format!("  {name}"), value)));
        lines.push(String::new());
        let adapter =
            self.adapter.as_ref().map_or_else(|| "none yet".to_owned(), |p| p.display().to_string());
        lines.push(line("adapter", adapter));
        if let Some(step) = self.checkpoints.last() {
            lines.push(line("last checkpoint", format!("step {step}")));
        }
        lines.push("\nnext".to_owned());
        lines.extend(self.next().into_iter().map(|(what, command)| line(&format!("  {what}"), command)));
        Ok(lines)
    }

    /// What the run came to, by name.
    fn measured(&self) -> Vec<(String, String)> {
        let summary = &self.summary;
        let mut measured = vec![("step".to_owned(), format!("{} of {}", summary.step, summary.n_steps))];
        let mut add = |name: &str, text: String| measured.push((name.to_owned(), text));
        if let Some(seconds) = self.elapsed_s {
            add("training", super::super::progress::seconds(seconds));
        }
        if let Some(loss) = summary.last_loss {
            add("loss", format!("{loss:.3}"));
        }
        let Some(last) = &summary.last_eval else { return measured };
        if let Some(step) = last["step"].as_u64() {
            add("measured at", format!("step {step}"));
        }
        for (key, name) in [("valid_perplexity", "held-out ppl"), ("general_perplexity", "general ppl")] {
            let of = |eval: &Value| eval[key].as_f64().map(|value| format!("{value:.2}"));
            let Some(now) = of(last) else { continue };
            match self.first_eval.as_ref().filter(|first| first["step"] != last["step"]).and_then(of) {
                Some(before) => add(name, format!("{now}, {before} before")),
                None => add(name, now),
            }
        }
        for (wording, share) in last["recall"].as_object().into_iter().flatten() {
            if let Some(share) = share.as_f64() {
                add(&format!("recall {wording}"), percent(share));
            }
        }
        measured
    }
}

/// A tree of settings as names and values, one a line; a list is one value.
fn flat(prefix: &str, value: &Value) -> Vec<(String, String)> {
    match value {
        Value::Object(map) => map
            .iter()
            .flat_map(|(key, value)| {
                flat(&if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") }, value)
            })
            .collect(),
        Value::Array(list) => {
            let texts: Vec<String> = list.iter().map(plain).collect();
            vec![(prefix.to_owned(), texts.join(" "))]
        }
        value => vec![(prefix.to_owned(), plain(value))],
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::{Recipe, TrainConfig};

    #[test]
    fn every_setting_has_its_line() {
        let config = TrainConfig { steps: Some(7), ..TrainConfig::defaults(Recipe::Qa) };
        let lines = flat("", &serde_json::to_value(config).unwrap());
        let of = |name: &str| &lines.iter().find(|(found, _)| found == name).unwrap().1;
        assert_eq!(
            (of("recipe").as_str(), of("steps").as_str(), of("lora.rank").as_str()),
            ("qa", "7", "16")
        );
        assert!(of("lora.targets").starts_with("q_proj k_proj"));
        assert!(lines.len() > 18, "{lines:?}");
    }
}
