//! How is a run of a task measured?

use std::fmt::Write;
use std::process::ExitCode;

use serde_json::{Value, json};

use super::{EvalArgs, keep, told};
use crate::cancel::Cancel;
use crate::cli::ask::Opened;
use crate::cli::progress::Progress;
use crate::cli::{Common, open, say, say_json};
use crate::corpus::Examples;
use crate::hub::Store;
use crate::lab::{
    BaseKnowledge, SHOTS, TaskDesk, TaskScore, check_adapter, check_held_out, degeneration, do_task,
    forgetting,
};
use crate::train::Recipe;
use crate::train::data::spread;

/// Measures every contender on the held-out examples and tells.
pub(super) fn run(
    args: &EvalArgs,
    common: &Common,
    (opened, recipe, examples): (&Opened, Recipe, &Examples),
    cancel: &Cancel,
) -> anyhow::Result<ExitCode> {
    let (paths, settings) = common.settings()?;
    let embedder = open::embedder(&Store::open(&paths, &settings.hub)?, cancel)?;
    let lora = opened.adapter().map(|adapter| (adapter, args.adapter.scale));
    let desk = TaskDesk { model: &opened.model, lora, embedder: &embedder, recipe, examples };
    let asked: Vec<_> = spread(&examples.held_out, args.sample.unwrap_or(usize::MAX)).collect();
    let mut progress = Progress::new();
    let mut scores = Vec::new();
    for &contender in &opened.contenders {
        let mut watch = |done: usize| {
            progress.update(&format!("{} on {}: {done} of {}", contender.name(), recipe.name(), asked.len()));
        };
        scores.push(do_task(&desk, (contender, &asked), cancel, &mut watch)?);
    }
    let known = BaseKnowledge::of(&opened.model, cancel)?;
    let forgot = forgetting(&opened.model, &known, lora, cancel)?;
    let mut checks = Vec::new();
    let tuned = opened.tuned(args.adapter.scale);
    if let Some(tuned) = tuned {
        checks.extend(check_adapter(&opened.model, tuned, &[])?);
    }
    checks.push(check_held_out(examples)?);
    let result = json!({
        "task": recipe.name(), "step": tuned.and_then(|tuned| tuned.step), "scale": tuned.map(|tuned| tuned.scale),
        "contenders": in_short(&scores), "forgetting": forgot,
        "n_parameters": opened.model.decoder.n_parameters(),
        "adapter": tuned.and_then(|tuned| tuned.digest), "checks": checks,
    });
    let mut answers = String::new();
    for score in &scores {
        writeln!(answers, "{}", serde_json::to_string(score)?)?;
    }
    let files = [("task.json", format!("{result:#}\n")), ("task_answers.jsonl", answers)];
    let kept = keep(opened, args.adapter.scale, &files);
    if common.json {
        say_json(&result)?;
    } else {
        say(table(recipe, &scores))?;
        say(told::forgetting(&forgot))?;
        for check in &checks {
            say(format!("checked: {check}"))?;
        }
    }
    kept.map(|()| ExitCode::SUCCESS)
}

/// By contender and wording, as of a corpus: what is held out is unseen.
fn in_short(scores: &[TaskScore]) -> Value {
    let score = |s: &TaskScore| {
        let n_degenerate = s.answers.iter().filter(|answer| degeneration(&answer.text).is_some()).count();
        let degenerate = n_degenerate as f64 / s.n.max(1) as f64;
        // An answer in a manner is never the same word by word.
        let unseen = json!({
            "n": s.n, "contains": s.right, "exact": null, "f1": null, "ci95": s.ci95, "degenerate": degenerate,
        });
        (s.contender.name().to_owned(), json!({"unseen": unseen}))
    };
    Value::Object(scores.iter().map(score).collect())
}

fn table(recipe: Recipe, scores: &[TaskScore]) -> String {
    let rule = match recipe {
        Recipe::Style => "right: at least 4 of the 5 features of the voice",
        _ => "right: the answer contains the right word",
    };
    let mut lines = vec![
        format!(
            "{} on held-out examples; {rule}; with retrieval: {SHOTS} nearest examples shown",
            recipe.name()
        ),
        format!("{:<10} {:>4}  {:>8}  {:>13}", "contender", "n", "right", "95 % interval"),
    ];
    for score in scores {
        let interval = format!("{:.0} to {:.0} %", score.ci95[0] * 100.0, score.ci95[1] * 100.0);
        let right = format!("{:.1} %", score.right * 100.0);
        lines.push(format!("{:<10} {:>4}  {right:>8}  {interval:>13}", score.contender.name(), score.n));
    }
    lines.join("\n")
}
