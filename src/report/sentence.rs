//! What came of a run, in one plain sentence?
//!
//! It has three parts, each made from the numbers by the first rule that holds.
//!
//! How far it came: completed, under way, stopped, given up or failed.
//!
//! What it learnt:
//! 1. A last loss that is no number is all there is to say.
//! 2. The scoreboard knows unseen wordings of the fine-tuned model: its share, and that of base + RAG if
//!    it was asked. Intervals that overlap name no winner.
//! 3. Else the last recall of unseen wordings that was measured during training.
//! 4. Else the validation loss, before and after; else the training loss.
//!
//! Where 2 or 3 finds less than 5 % although the validation loss fell by 30 %, both are said.
//!
//! What it forgot: perplexity of general text against that before training. From 1.2 times on it has
//! forgotten, from twice on much.

use std::fmt::Write;

use super::scoreboard::Score;
use super::{Facts, History};
use crate::app::words::{count, percent, short, thousands};
use crate::corpus::Wording;
use crate::lab::Contender;
use crate::run::RunState;

/// Recall below this is next to nothing.
const NOTHING: f64 = 0.05;
/// A validation loss at or below this share of the first has clearly fallen.
const FALLEN: f64 = 0.7;
/// General perplexity against that before training.
const HARDER: f64 = 1.2;
const MUCH_HARDER: f64 = 2.0;

/// The sentence.
pub(super) fn of(facts: &Facts) -> String {
    let history = &facts.history;
    let start = reached(facts);
    if history.step == 0 {
        return format!("{start}.");
    }
    if !history.is_sound {
        return format!("{start} the loss is no number any more: the learning rate is too high.");
    }
    let learnt = learnt(facts).unwrap_or_else(|| "nothing was measured yet".to_owned());
    let forgot = forgot(history).map(|forgot| format!("; {forgot}")).unwrap_or_default();
    format!("{start} {learnt}{forgot}.")
}

/// How far it came; a whole clause before the first step.
fn reached(facts: &Facts) -> String {
    let history = &facts.history;
    let cause = history.cause.as_deref().unwrap_or("for an unknown cause").trim_end_matches('.');
    if history.step == 0 {
        return match facts.summary.state {
            RunState::Running => "The run is under way and has made no step yet".to_owned(),
            RunState::Failed => format!("The run failed before its first step: {cause}"),
            RunState::Cancelled => "The run was given up before its first step".to_owned(),
            RunState::Completed | RunState::Unfinished => "The run has made no step yet".to_owned(),
        };
    }
    let of = format!("{} of {}", thousands(history.step as u64), count(history.n_steps, "step"));
    match facts.summary.state {
        RunState::Completed => format!("After {}", count(history.step, "step")),
        RunState::Running => format!("Under way, after {of},"),
        RunState::Unfinished => format!("Stopped after {of},"),
        RunState::Cancelled => format!("Given up after {of},"),
        RunState::Failed => format!("Failed after {of} ({cause}):"),
    }
}

fn learnt(facts: &Facts) -> Option<String> {
    let history = &facts.history;
    let valid = history.change(|at| at.valid_loss);
    let score = |contender| facts.scoreboard.as_ref()?.score(contender, Wording::Unseen);
    let tuned = score(Contender::Tuned);
    let unseen = tuned.map(|tuned| tuned.contains).or_else(|| history.recall(Wording::Unseen));
    if let Some(unseen) = unseen {
        let mut said = format!(
            "the fine-tuned model answers {} of the questions in wordings it never saw",
            percent(unseen)
        );
        if let Some((tuned, rag)) = tuned.zip(score(Contender::BaseRag)) {
            said += &against(tuned, rag);
        }
        if let Some((first, last)) = valid.filter(|(first, last)| unseen < NOTHING && *last <= first * FALLEN)
        {
            let (first, last) = (short(first), short(last));
            let _ = write!(said, "; its validation loss fell all the same, from {first} to {last}");
        }
        return Some(said);
    }
    if let Some((first, last)) = valid {
        return Some(format!("the validation loss went from {} to {}", short(first), short(last)));
    }
    Some(format!("the training loss is {}", short(history.smooth.last()?)))
}

/// The fine-tuned model beside base + RAG.
fn against(tuned: &Score, rag: &Score) -> String {
    let verdict = match (tuned.ci95, rag.ci95) {
        (Some([low, _]), Some([_, high])) if low > high => ": fine-tuning is ahead",
        (Some([_, high]), Some([low, _])) if high < low => ": retrieval is ahead",
        (Some(_), Some(_)) => ": too close to name a winner",
        _ => "",
    };
    format!(", base + RAG {}{verdict}", percent(rag.contains))
}

fn forgot(history: &History) -> Option<String> {
    let before = history.general_before()?;
    let (_, now) = history.change(|at| at.general_loss)?;
    let now = now.exp();
    let numbers = format!("perplexity of general text went from {} to {}", short(before), short(now));
    Some(match now / before {
        times if times >= MUCH_HARDER => format!("{numbers}, so it has forgotten much"),
        times if times >= HARDER => format!("{numbers}, so it has forgotten something"),
        _ => format!("{numbers}, so it has forgotten little"),
    })
}
