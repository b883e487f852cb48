//! What does a measurement look like in a terminal?

use std::fmt::Write;

use crate::lab::scoreboard::Scoreboard;
use crate::lab::{Cost, Forgetting, Retrieved};
use crate::meter::Spent;

/// The scoreboard, for people.
pub(super) fn table(board: &Scoreboard) -> String {
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
                "\n{} on {} wordings: the prompt held the right passage for {:.1} %; with it {:.1} % were answered right, without it {:.1} %",
                contender.name(),
                wording.name(),
                reading.right_passage * 100.0,
                reading.right_with_it * 100.0,
                reading.right_without * 100.0
            );
        }
    }
    text
}

/// What was forgotten.
pub(super) fn forgetting(forgot: &Forgetting) -> String {
    let base = forgot.base_general_perplexity;
    let (n, n_base) = (forgot.n_quiz, forgot.base_quiz_right);
    match (forgot.tuned_general_perplexity, forgot.tuned_quiz_right, forgot.kl_from_base) {
        (Some(tuned), Some(n_tuned), Some(kl)) => format!(
            "general text: perplexity {base:.2} for the base model, {tuned:.2} fine-tuned\n\
             common knowledge: the base model answers {n_base} of {n} questions right, fine-tuned {n_tuned}\n\
             of the verse alone: perplexity {:.2}, from {:.2}\n\
             on the base model's own answers the fine-tuned one departs from it by {kl:.3} nats per token (KL)",
            forgot.tuned_verse_perplexity.unwrap_or(f64::NAN),
            forgot.base_verse_perplexity,
        ),
        _ => format!(
            "general text: perplexity {base:.2} for the base model\n\
             common knowledge: it answers {n_base} of {n} questions right"
        ),
    }
}

/// How well the right documents were found.
pub(super) fn retrieval(found: &Retrieved) -> String {
    let mut text = format!("looking up {} questions:", found.n);
    for (name, score) in &found.all {
        let places: Vec<String> =
            score.recall_at.iter().map(|(k, share)| format!("@{k} {:.1} %", share * 100.0)).collect();
        let _ = write!(
            text,
            "\n{name:<7} recall {}  MRR {:.3}  nDCG@10 {:.3}",
            places.join("  "),
            score.mrr,
            score.ndcg_at_10
        );
    }
    let _ = write!(text, "\n{} questions had no right document before the model", found.missed.len());
    text
}

/// What it cost.
pub(super) fn cost(cost: &Cost) -> String {
    let mut lines = vec![format!("at ${:.2} an hour of this machine:", cost.price_per_hour)];
    let mut add = |what: &str, spent: Spent| {
        let cpu = spent.cpu_seconds.map_or(String::new(), |cpu| format!(", {cpu:.1} processor seconds"));
        let energy = spent.joules.map_or(String::new(), |joules| format!(", {:.2} Wh", joules / 3600.0));
        let money = spent.money(cost.price_per_hour);
        lines.push(format!("{what:<22} {:>8.2} s{cpu}{energy}, ${money:.5}", spent.seconds));
    };
    if let Some(training) = cost.training {
        add("training", training);
    }
    if let Some(index) = &cost.indexing {
        add("indexing from nothing", index.all);
        add("one changed document", index.one_changed);
    }
    for (contender, answering) in &cost.answers {
        lines.push(format!(
            "{:<22} {:>8.3} s an answer ({} together), {:.0} tokens read and {:.0} written",
            contender.name(),
            answering.seconds_each(),
            answering.n,
            answering.n_prompt_tokens as f64 / answering.n.max(1) as f64,
            answering.n_tokens as f64 / answering.n.max(1) as f64
        ));
    }
    lines.join("\n")
}
