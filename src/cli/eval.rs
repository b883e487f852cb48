//! `lorascope eval`: how does each contender do, by wording?

mod task;

use std::fmt::Write;
use std::path::Path;
use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};

use super::ask::Opened;
use super::open::AdapterFlags;
use super::progress::Progress;
use super::{Common, cancel_on_signals, say, say_json};
use crate::cancel::Cancel;
use crate::corpus::{Corpus, Wording};
use crate::error::Error;
use crate::files::write_whole;
use crate::lab::scoreboard::{ANSWER_TOKENS, Outcome, Scoreboard, comparisons, examine, items};
use crate::lab::{BaseKnowledge, Comparison, Contender, Desk, Forgetting, Tuned, Verdict, forgetting};
use crate::model::generate::Sampling;
use crate::rag::Rerank;
use crate::train::data::spread;

/// `lorascope eval`. Of a run of a task (`style`, `sentiment`) its held-out examples are measured, unless wordings
/// are named.
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
    #[arg(long, value_name = "N")]
    pub top: Option<usize>,
    /// How passages are put in order: fused, cosine or off.
    #[arg(long, default_value = "fused")]
    pub rerank: Rerank,
    /// Questions of each wording at most, spread evenly; all if not given.
    #[arg(long, value_name = "N")]
    pub sample: Option<usize>,
}

/// Runs it.
pub fn run(args: &EvalArgs, common: &Common) -> anyhow::Result<ExitCode> {
    let cancel = cancel_on_signals()?;
    let wordings = if args.wording.is_empty() { Wording::ALL.to_vec() } else { args.wording.clone() };
    let mut opened = Opened::new(&contenders(args, common)?, &args.adapter, common, &cancel)?;
    opened.contenders.sort_unstable();
    if let (Some(recipe), true) = (opened.recipe(), args.wording.is_empty())
        && let Some(examples) = recipe.task_examples()?
    {
        return task::run(args, common, (&opened, recipe, &examples), &cancel);
    }
    let desk = Desk { rerank: args.rerank, ..desk(&opened, args.top) };
    let asked = Asked { contenders: &opened.contenders, wordings: &wordings, sample: args.sample };
    let tuned = opened.tuned(args.adapter.scale);
    let outcomes = examined(&desk, &opened.corpus, asked, tuned, &cancel)?;
    if outcomes.is_empty() {
        let what = format!("{} has no question of these wordings", opened.corpus.name);
        return Err(Error::refused(what, "add facts.jsonl to the corpus, or name other wordings").into());
    }
    let board = Scoreboard::of(&outcomes);
    let known = BaseKnowledge::of(&opened.model, &cancel)?;
    let forgot = forgetting(&opened.model, &known, opened.adapter(), &cancel)?;
    let result = result(&outcomes, Some(&forgot))?;
    keep(&opened, &files(&result, &outcomes)?)?;
    if common.json {
        say_json(&result)?;
    } else {
        say(table(&board))?;
        for comparison in comparisons(&outcomes).iter().filter(|c| c.verdict != Verdict::Undecided) {
            say(comparison)?;
        }
        say(forgetting_text(&forgot))?;
    }
    Ok(ExitCode::SUCCESS)
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
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) contenders: &'a [Contender],
    pub(super) wordings: &'a [Wording],
    /// Questions of each wording at most.
    pub(super) sample: Option<usize>,
}

/// Puts the questions, with progress.
pub(super) fn examined(
    desk: &Desk,
    corpus: &Corpus,
    asked: Asked,
    tuned: Option<Tuned>,
    cancel: &Cancel,
) -> anyhow::Result<Vec<Outcome>> {
    let mut progress = Progress::new();
    let mut outcomes = Vec::new();
    for &contender in asked.contenders {
        for &wording in asked.wordings {
            let all = items(corpus, &[wording]);
            let chosen: Vec<_> = spread(&all, asked.sample.unwrap_or(usize::MAX)).copied().collect();
            let mut watch = |done: usize| {
                let (who, how) = (contender.name(), wording.name());
                progress.update(&format!("{who} on {how} wordings: {done} of {}", chosen.len()));
            };
            outcomes.extend(examine(desk, (contender, &chosen), tuned, cancel, &mut watch)?);
        }
    }
    Ok(outcomes)
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

/// Writes files into the run's report folder, if a run is meant.
fn keep(opened: &Opened, files: &[(&str, String)]) -> anyhow::Result<()> {
    let Some((run, _)) = opened.place.as_ref().and_then(|place| place.run.as_ref()) else { return Ok(()) };
    let folder = run.join("report");
    keep_in(&folder, files)?;
    eprintln!("kept in {}", folder.display());
    Ok(())
}

/// Writes files into a folder, which is made if missing.
pub(super) fn keep_in(folder: &Path, files: &[(&str, String)]) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
    for (name, text) in files {
        write_whole(&folder.join(name), text.as_bytes())?;
    }
    Ok(())
}

/// The scoreboard, for people.
fn table(board: &Scoreboard) -> String {
    let mut text = format!(
        "{:<10} {:<13} {:>4}  {:>8}  {:>13}  {:>6}  {:>5}  {:>6}",
        "contender", "wording", "n", "contains", "95 % interval", "exact", "F1", "broken"
    );
    for (contender, wordings) in &board.contenders {
        for (wording, tally) in wordings {
            let percent = |share: f64| format!("{:.1} %", share * 100.0);
            let interval = format!("{:.0} to {:.0} %", tally.ci95[0] * 100.0, tally.ci95[1] * 100.0);
            let _ = write!(
                text,
                "\n{:<10} {:<13} {:>4}  {:>8}  {interval:>13}  {:>6}  {:>5.2}  {:>6}",
                contender.name(),
                wording.name(),
                tally.n,
                percent(tally.contains),
                percent(tally.exact),
                tally.f1,
                percent(tally.degenerate)
            );
        }
    }
    for (contender, wordings) in &board.reading {
        for (wording, reading) in wordings {
            let _ = write!(
                text,
                "\n{} on {} wordings: the right passage came first for {:.1} %; with it {:.1} % were answered right, without it {:.1} %",
                contender.name(),
                wording.name(),
                reading.right_passage_first * 100.0,
                reading.right_when_first * 100.0,
                reading.right_otherwise * 100.0
            );
        }
    }
    text
}

fn forgetting_text(forgot: &Forgetting) -> String {
    let base = forgot.base_general_perplexity;
    let (n, n_base) = (forgot.n_quiz, forgot.base_quiz_right);
    match (forgot.tuned_general_perplexity, forgot.tuned_quiz_right, forgot.kl_from_base) {
        (Some(tuned), Some(n_tuned), Some(kl)) => format!(
            "general text: perplexity {base:.2} for the base model, {tuned:.2} fine-tuned\n\
             common knowledge: the base model answers {n_base} of {n} questions right, fine-tuned {n_tuned}\n\
             on the base model's own answers the fine-tuned one departs from it by {kl:.3} nats per token (KL)"
        ),
        _ => format!(
            "general text: perplexity {base:.2} for the base model\n\
             common knowledge: it answers {n_base} of {n} questions right"
        ),
    }
}
