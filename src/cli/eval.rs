//! `lorascope eval`: how does each contender do, by wording?

mod task;
mod told;
mod workup;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};

use super::ask::{Opened, once_each};
use super::open::AdapterFlags;
use super::progress::Progress;
use super::{Common, cancel_on_signals, say, say_json};
use crate::cancel::Cancel;
use crate::corpus::{ANSWER_TOKENS, Corpus, Wording};
use crate::error::Error;
use crate::files::write_whole;
use crate::lab::scoreboard::{Item, Outcome, Scoreboard, comparisons, examine, items};
use crate::lab::{
    Answering, BaseKnowledge, Comparison, Contender, Desk, Forgetting, Tuned, Verdict, check_prompts,
    forgetting,
};
use crate::model::generate::Sampling;
use crate::rag::Rerank;
use crate::run::RunRecord;
use crate::train::data::spread;

/// `lorascope eval`.
#[derive(Debug, Args)]
pub struct EvalArgs {
    /// Who answers: base, base+rag, tuned, tuned+rag, several with commas, or all. Without it, base,
    /// base+rag, and the tuned ones where there is an adapter.
    #[arg(long, value_delimiter = ',', value_name = "WHO")]
    pub contender: Vec<String>,
    /// Which questions: trained, unseen, reversed, `two_hop`, unanswerable, several with commas. Without
    /// it, all.
    #[arg(long, value_delimiter = ',', value_name = "WORDING")]
    pub wording: Vec<Wording>,
    /// The fine-tuned weights.
    #[command(flatten)]
    pub adapter: AdapterFlags,
    /// Passages put before the model; what suits it if not given.
    #[arg(long, value_name = "N", value_parser = super::open::at_least_one)]
    pub top: Option<usize>,
    /// How passages are put in order: fused, cosine or off.
    #[arg(long, default_value = "fused")]
    pub rerank: Rerank,
    /// Questions of each wording at most, spread evenly; all if not given.
    #[arg(long, value_name = "N", value_parser = super::open::at_least_one)]
    pub sample: Option<usize>,
    /// What an hour of this machine costs, in dollars; 0.10 if neither this nor the settings say.
    #[arg(long, value_name = "DOLLARS", allow_negative_numbers = true, value_parser = super::open::price)]
    pub price: Option<f64>,
}

/// Runs it.
pub fn run(args: &EvalArgs, common: &Common) -> anyhow::Result<ExitCode> {
    let cancel = cancel_on_signals()?;
    let wordings = if args.wording.is_empty() { Wording::ALL.to_vec() } else { once_each(&args.wording) };
    let mut opened = Opened::new(&contenders(args, common)?, &args.adapter, common, &cancel)?;
    opened.contenders.sort_unstable();
    if let (Some(recipe), true) = (opened.recipe(), args.wording.is_empty())
        && let Some(examples) = recipe.task_examples()?
    {
        return task::run(args, common, (&opened, recipe, &examples), &cancel);
    }
    let desk = Desk { rerank: args.rerank, ..desk(&opened, args.top) };
    let asked = Asked {
        contenders: &opened.contenders,
        wordings: &wordings,
        sample: args.sample,
        n_trained: opened.n_trained(),
    };
    let tuned = opened.tuned(args.adapter.scale);
    let mut checks = workup::checks(&opened, (&asked, tuned))?;
    let (outcomes, answers) = examined(&desk, &opened.corpus, asked, tuned, &cancel)?;
    if outcomes.is_empty() {
        let what = format!("{} has no question of these wordings", opened.corpus.name);
        return Err(Error::refused(what, "add facts.jsonl to the corpus, or name other wordings").into());
    }
    checks.extend(check_prompts(&opened.corpus, &outcomes)?);
    let retrieval = workup::retrieval(&opened, (&desk, asked), &cancel)?;
    let known = BaseKnowledge::of(&opened.model, &cancel)?;
    let lora = opened.adapter().map(|adapter| (adapter, args.adapter.scale));
    let forgot = forgetting(&opened.model, &known, lora, &cancel)?;
    let cost = workup::cost(&opened, (args.price, answers), common, &cancel)?;
    let mut result = result(&outcomes, Some(&forgot))?;
    result["n_parameters"] = json!(opened.model.decoder.n_parameters());
    result["step"] = json!(tuned.and_then(|tuned| tuned.step));
    result["scale"] = json!(tuned.map(|tuned| tuned.scale));
    result["adapter"] = json!(tuned.and_then(|tuned| tuned.digest));
    result["checks"] = json!(checks);
    result["retrieval"] = json!(retrieval);
    result["cost"] = json!(cost);
    // What took long to measure is told whether it can be kept or not.
    let kept = keep(&opened, args.adapter.scale, &files(&result, &outcomes)?);
    if common.json {
        say_json(&result)?;
        return kept.map(|()| ExitCode::SUCCESS);
    }
    say(told::table(&Scoreboard::of(&outcomes)))?;
    for comparison in comparisons(&outcomes).iter().filter(|c| c.verdict != Verdict::Undecided) {
        say(comparison)?;
    }
    if let Some(retrieval) = &retrieval {
        say(told::retrieval(retrieval))?;
    }
    say(told::forgetting(&forgot))?;
    say(told::cost(&cost))?;
    for check in &checks {
        say(format!("checked: {check}"))?;
    }
    kept.map(|()| ExitCode::SUCCESS)
}

/// All contenders where there is an adapter, else the untuned ones.
fn contenders(args: &EvalArgs, common: &Common) -> anyhow::Result<Vec<String>> {
    if !args.contender.is_empty() {
        return Ok(args.contender.clone());
    }
    let (paths, _) = common.settings()?;
    let has_adapter = args.adapter.place(&paths)?.is_some();
    let fits = |contender: &Contender| has_adapter || !contender.is_tuned();
    Ok(Contender::ALL.into_iter().filter(fits).map(|contender| contender.name().to_owned()).collect())
}

/// What answers are scored with: greedy, with as many tokens as where answers are shown.
pub(super) fn desk(opened: &Opened, top: Option<usize>) -> Desk<'_> {
    let sampling = Sampling { max_tokens: ANSWER_TOKENS, ..Sampling::default() };
    Desk { form: opened.form(top), sampling, ..opened.desk() }
}

/// Who is asked what.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) contenders: &'a [Contender],
    pub(super) wordings: &'a [Wording],
    /// Questions of each wording at most.
    pub(super) sample: Option<usize>,
    /// Trained wordings of each fact at most: those that a run has learnt.
    pub(super) n_trained: usize,
}

impl Asked<'_> {
    /// The questions of a wording.
    fn items<'a>(&self, corpus: &'a Corpus, wording: Wording) -> Vec<Item<'a>> {
        let all = items(corpus, wording, self.n_trained);
        spread(&all, self.sample.unwrap_or(usize::MAX)).copied().collect()
    }
}

/// Puts the questions, with progress.
pub(super) fn examined(
    desk: &Desk,
    corpus: &Corpus,
    asked: Asked,
    tuned: Option<Tuned>,
    cancel: &Cancel,
) -> anyhow::Result<(Vec<Outcome>, BTreeMap<Contender, Answering>)> {
    let mut progress = Progress::new();
    let mut outcomes = Vec::new();
    let mut answers: BTreeMap<Contender, Answering> = BTreeMap::new();
    for &contender in asked.contenders {
        for &wording in asked.wordings {
            let chosen = asked.items(corpus, wording);
            let mut watch = |done: usize| {
                let (who, how) = (contender.name(), wording.name());
                progress.update(&format!("{who} on {how} wordings: {done} of {}", chosen.len()));
            };
            let (more, took) = examine(desk, (contender, &chosen), tuned, cancel, &mut watch)?;
            outcomes.extend(more);
            let so_far = answers.entry(contender).or_default();
            *so_far = so_far.and(took);
        }
    }
    Ok((outcomes, answers))
}

/// The scoreboard, and what was forgotten, as `eval.json` has them.
pub(super) fn result(outcomes: &[Outcome], forgot: Option<&Forgetting>) -> anyhow::Result<Value> {
    let mut result = serde_json::to_value(Scoreboard::of(outcomes))?;
    let told = |comparison: &Comparison| {
        let mut value = serde_json::to_value(comparison)?;
        value["words"] = json!(comparison.to_string());
        Ok(value)
    };
    let compared = comparisons(outcomes).iter().map(told).collect::<serde_json::Result<Vec<_>>>()?;
    result["comparisons"] = json!(compared);
    if let Some(forgot) = forgot {
        result["forgetting"] = json!(forgot);
    }
    Ok(result)
}

/// `eval.json`, and every answer with its prompt in `answers.jsonl`. The former last: where it is, all is.
pub(super) fn files(result: &Value, outcomes: &[Outcome]) -> anyhow::Result<[(&'static str, String); 2]> {
    let mut lines = String::new();
    for outcome in outcomes {
        writeln!(lines, "{}", serde_json::to_string(outcome)?)?;
    }
    Ok([("answers.jsonl", lines), ("eval.json", format!("{result:#}\n"))])
}

/// Writes files into the run's report folder, if a run is meant. There stands what the run itself is worth: what was
/// asked of another model, about another corpus or at another scale is told, and not kept.
fn keep(opened: &Opened, scale: f64, files: &[(&str, String)]) -> anyhow::Result<()> {
    let Some((run, record)) = opened.place.as_ref().and_then(|place| place.run.as_ref()) else {
        return Ok(());
    };
    if let Some(how) = otherwise(record, (&opened.model_name, &opened.corpus), scale) {
        eprintln!("asked {how}: not kept in {}", run.display());
        return Ok(());
    }
    let folder = run.join("report");
    keep_in(&folder, files)?;
    eprintln!("kept in {}", folder.display());
    Ok(())
}

/// How something else was asked than what the run is worth.
fn otherwise(record: &RunRecord, (model, corpus): (&str, &Corpus), scale: f64) -> Option<&'static str> {
    // A folder that was moved holds the same, one that was changed is the same.
    let is_other_corpus = record.corpus != corpus.root && record.corpus_digest != corpus.digest;
    let other = [
        (scale.to_bits() != 1f64.to_bits(), "at another scale"),
        (record.model != model, "of another model"),
        (is_other_corpus, "about another corpus"),
    ];
    other.iter().find(|(is_other, _)| *is_other).map(|(_, how)| *how)
}

/// Writes files into a folder, which is made if missing.
pub(super) fn keep_in(folder: &Path, files: &[(&str, String)]) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
    for (name, text) in files {
        write_whole(&folder.join(name), text.as_bytes())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::{Recipe, TrainConfig};

    #[test]
    fn only_what_the_run_itself_is_worth_is_kept() {
        let folders = [(); 3].map(|()| tempfile::tempdir().unwrap());
        for (folder, text) in folders.iter().zip(["Tea.", "Tea.", "Coffee."]) {
            std::fs::write(folder.path().join("a.md"), text).unwrap();
        }
        let [own, moved, other] = folders.each_ref().map(|folder| Corpus::open(folder.path()).unwrap());
        let record = RunRecord::new("m", &own, &TrainConfig::defaults(Recipe::Qa));
        assert_eq!(otherwise(&record, ("m", &own), 1.0), None);
        assert_eq!(otherwise(&record, ("m", &moved), 1.0), None);
        assert_eq!(otherwise(&record, ("m", &own), 0.5), Some("at another scale"));
        assert_eq!(otherwise(&record, ("n", &own), 1.0), Some("of another model"));
        assert_eq!(otherwise(&record, ("m", &other), 1.0), Some("about another corpus"));
    }
}
