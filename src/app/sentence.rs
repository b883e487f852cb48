//! What is happening now, in one plain sentence?
//!
//! The sentence is made from the numbers by the rules below, the first that holds. A second half
//! about general text follows where there is something to say about it.

use std::fmt::Write;

use super::run::{Run, Stage};
use super::words::{clock, count, percent, short};
use crate::corpus::Wording;
use crate::lab::wilson;
use crate::train::{Recall, RunOutcome};

/// A validation loss must fall by this share to count as fallen.
const FALLEN: f64 = 0.01;
/// Checks without a fall before it is said to have stopped.
const STALE: usize = 3;
/// A recall must move by this much over three checks to be said to move.
const MOVED: f64 = 0.03;
/// A gap between trained and unseen wordings that is worth a sentence.
const GAP: f64 = 0.2;

/// The sentence for a run under way, in all its lengths, the longest first: the reader takes the
/// first that fits. Empty before there is something to say.
pub(crate) fn of(run: &Run, base_rag: Option<Recall>) -> Vec<String> {
    let Some((learning, trend)) = learning(run, base_rag) else { return Vec::new() };
    let mut lengths = Vec::new();
    let mut say = |parts: [&str; 2]| lengths.push(format!("{learning}{}.", parts.concat()));
    let trend = trend.unwrap_or_default();
    if let Some((long, short)) = forgetting(run) {
        say([&trend, &format!("; {long}")]);
        say(["", &format!("; {long}")]);
        say(["", &format!("; {short}")]);
    }
    say([&trend, ""]);
    say(["", ""]);
    lengths
}

/// How learning goes, without the full stop; and how recall moves, where that adds something.
fn learning(run: &Run, base_rag: Option<Recall>) -> Option<(String, Option<String>)> {
    let last = run.last.as_ref()?;
    if !last.loss.is_finite() {
        return Some(("The loss is not a number any more: the learning rate is too high".to_owned(), None));
    }
    if run.evals.len() < 2 {
        return Some((first_steps(run, last.step), None));
    }
    let stale = stale_checks(run);
    if let Some(said) = by_heart(run) {
        return Some((said, None));
    }
    if stale >= STALE {
        return Some((format!("Validation has stopped falling for {}", count(stale, "check")), trend(run)));
    }
    if let Some(said) = past_rag(run, base_rag).or_else(|| gap(run)) {
        return Some((said, None));
    }
    let Some(valid) = run.valid.last() else {
        return Some((format!("The training loss is at {}", short(run.smooth.last()?)), trend(run)));
    };
    let before = run.evals.iter().rev().nth(1).and_then(|eval| eval.valid_loss).unwrap_or(valid);
    let (then, now) = (short(before), short(valid));
    let said = match valid < before {
        _ if then == now => format!("Validation stays at {now}"),
        true => format!("Validation is falling: {then} → {now}"),
        false => format!("Validation wavers: {then} → {now}"),
    };
    Some((said, trend(run)))
}

/// The documents recipe: the loss falls and nothing can be asked.
fn by_heart(run: &Run) -> Option<String> {
    let unseen = share(run, Wording::Unseen).filter(|unseen| *unseen < 0.05)?;
    let (loss, first) = (run.smooth.last()?, run.first_eval.as_ref()?.valid_loss.or(run.loss.first())?);
    (run.order.recipe == "documents" && loss < first * 0.7).then(|| {
        let (loss, unseen) = (short(loss), percent(unseen));
        format!("The loss is down to {loss}, yet {unseen} of the questions are answered: text is not facts")
    })
}

/// Said when the rival was asked as much, and the 95 % intervals are apart.
fn past_rag(run: &Run, base_rag: Option<Recall>) -> Option<String> {
    let (tuned, rag) = (run.recalled.get(&Wording::Unseen)?, base_rag?);
    let interval = |recall: &Recall| wilson(recall.n_right, recall.n);
    (rag.n >= tuned.n && interval(tuned).0 > interval(&rag).1).then(|| {
        format!(
            "Fine-tuned answers more unseen wordings than base + RAG: {} against {}",
            percent(tuned.share()),
            percent(rag.share())
        )
    })
}

fn gap(run: &Run) -> Option<String> {
    let (unseen, trained) = (share(run, Wording::Unseen)?, share(run, Wording::Trained)?);
    (trained - unseen >= GAP).then(|| {
        format!(
            "It answers {} of the {} it saw and {} of those it did not",
            percent(trained),
            asked(run),
            percent(unseen)
        )
    })
}

fn first_steps(run: &Run, step: usize) -> String {
    match (step, run.loss.first(), run.smooth.last()) {
        (1..=2, Some(first), _) => {
            format!("A fresh adapter changes nothing yet: {} is the base model's own loss", short(first))
        }
        (_, Some(first), Some(now)) if now < first * 0.9 => {
            format!("The training loss is falling: {} → {}", short(first), short(now))
        }
        _ => "The first steps: the learning rate is still warming up".to_owned(),
    }
}

/// ", recall of unseen wordings still rises" or falls, as a half-sentence.
fn trend(run: &Run) -> Option<String> {
    let series = run.recall.get(&Wording::Unseen)?;
    let mut latest = series.recent().rev();
    let now = latest.next()?.mean;
    let then = latest.nth(2).or_else(|| series.recent().next())?.mean;
    let (asked, now_is) = (asked(run), percent(now));
    Some(match now - then {
        change if change > MOVED => format!(", recall of unseen {asked} still rises ({now_is})"),
        change if change < -MOVED => format!(", recall of unseen {asked} falls ({now_is})"),
        _ => format!(", recall of unseen {asked} stays at {now_is}"),
    })
}

/// Measurements since validation was last at its lowest.
fn stale_checks(run: &Run) -> usize {
    let (mut best, mut stale) = (f64::INFINITY, 0);
    for loss in run.evals.iter().filter_map(|eval| eval.valid_loss) {
        if loss < best * (1.0 - FALLEN) {
            (best, stale) = (loss, 0);
        } else {
            stale += 1;
        }
    }
    stale
}

/// What happens to general text, where it is worth saying: at length, and in short.
fn forgetting(run: &Run) -> Option<(String, String)> {
    let before = run.first_eval.as_ref()?.general_loss.exp();
    let now = run.general.last()?;
    let (from, to) = (short(before), short(now));
    match now / before {
        times if times >= 3.5 => Some((
            format!("general perplexity is {times:.0} times what it was: much is forgotten"),
            format!("general perplexity x {times:.0}"),
        )),
        times if times >= 1.9 => Some((
            format!("general perplexity has doubled ({from} → {to}): the model is forgetting"),
            "general perplexity has doubled".to_owned(),
        )),
        times if times >= 1.2 => {
            Some((format!("general text gets harder ({from} → {to})"), "general text gets harder".to_owned()))
        }
        _ => None,
    }
}

/// The result of a run that is over, in all its lengths, the longest first.
pub(crate) fn result(run: &Run, base_rag: Option<Recall>) -> Vec<String> {
    let n = count(run.step().saturating_sub(run.first_step), "step");
    let time = clock(run.elapsed_s());
    let (start, tiny) = match &run.stage {
        Stage::Ended(RunOutcome::Failed(_)) => ("Stopped by an error after", "Stopped by an error after"),
        Stage::Ended(RunOutcome::Cancelled) => ("Given up after", "Given up after"),
        _ if run.step() < run.n_steps => ("Stopped and saved after", "Stopped after"),
        _ => ("Done:", "Done:"),
    };
    let (mut long, mut brief) = (format!("{start} {n} in {time}."), format!("{start} {n}."));
    let mut numbers = Vec::new();
    if let Some(unseen) = run.recalled.get(&Wording::Unseen).filter(|recall| recall.n > 0) {
        // A share of fewer questions than the run was asked still moves.
        let whole = base_rag.filter(|rag| rag.n >= unseen.n);
        let rag = whole.map(|rag| format!(", base + RAG {}", percent(rag.share()))).unwrap_or_default();
        let unseen = percent(unseen.share());
        let _ = write!(long, " Unseen {}: fine-tuned {unseen}{rag}.", asked(run));
        let _ = write!(brief, " Unseen: tuned {unseen}{rag}.");
        numbers.push(format!("unseen {unseen}"));
    }
    if let (Some(first), Some(now)) = (&run.first_eval, run.general.last()) {
        let (from, to) = (short(first.general_loss.exp()), short(now));
        let _ = write!(long, " General perplexity {from} → {to}.");
        let _ = write!(brief, " General {from} → {to}.");
        numbers.push(format!("general {from} → {to}"));
    }
    let tiniest = format!("{tiny} {n}.");
    if numbers.is_empty() {
        return vec![long, brief, tiniest];
    }
    let mut few = if tiny == "Done:" { tiny.to_owned() } else { format!("{tiny} {n}:") };
    let _ = write!(few, " {}.", numbers.join(", "));
    if let Some(step) = measured_before(run) {
        let both = if numbers.len() > 1 { "both " } else { "" };
        for (text, when) in [
            (&mut long, format!(" ({both}measured at step {step}).")),
            (&mut brief, format!(" ({both}measured at step {step}).")),
            (&mut few, format!(" (at step {step}).")),
        ] {
            text.truncate(text.len() - 1);
            text.push_str(&when);
        }
    }
    vec![long, brief, few, tiniest]
}

/// The step of the last measurement, where updates have followed it.
fn measured_before(run: &Run) -> Option<usize> {
    run.evals.back().map(|eval| eval.step).filter(|step| *step < run.step())
}

/// What can be done with a run that is over, in all its lengths, the longest first; empty where nothing is saved.
pub(crate) fn next(run: &Run) -> Vec<String> {
    let Some(folder) = &run.folder else { return Vec::new() };
    let name = folder.file_name().unwrap_or(folder.as_os_str()).display();
    match (&run.stage, run.saved) {
        (Stage::Ended(RunOutcome::Completed), _) => vec![
            format!("Saved: `lorascope report {name}` draws it; r tries another recipe; i asks on."),
            format!("Saved: `lorascope report {name}` draws it."),
            format!("Saved as {name}."),
        ],
        (Stage::Ended(_), Some(step)) => vec![
            format!("Saved up to step {step}: `lorascope train --resume --run {name}` goes on."),
            format!("Saved up to step {step} as {name}."),
        ],
        _ => Vec::new(),
    }
}

/// What is asked during a run.
fn asked(run: &Run) -> &'static str {
    if run.is_task() { "examples" } else { "wordings" }
}

fn share(run: &Run, wording: Wording) -> Option<f64> {
    run.recalled.get(&wording).filter(|recall| recall.n > 0).map(|recall| recall.share())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::train::{EvalReport, StepReport, TrainEvent};
    use crate::worker::TrainOrder;

    fn run(recipe: &str) -> Run {
        let recipe = recipe.to_owned();
        Run::new(TrainOrder { recipe, epochs: 8.0, rank: 16, alpha: 32.0, lr: 1e-3, batch: 16, seed: 1 })
    }

    fn stepped(run: &mut Run, step: usize, loss: f64) {
        run.note(TrainEvent::Stepped(StepReport {
            step,
            epoch: 1.0,
            loss,
            perplexity: loss.exp(),
            lr: 1e-3,
            grad_norm: 1.0,
            n_tokens: 100,
            tokens_per_s: 100.0,
            elapsed_s: step as f64,
        }));
    }

    /// One measurement: validation loss, general perplexity, recall of trained and unseen in percent.
    fn measured(run: &mut Run, valid_loss: f64, general: f64, recall: Option<(usize, usize)>) {
        let step = run.step();
        let recall = recall.map_or_else(BTreeMap::new, |(trained, unseen)| {
            BTreeMap::from([
                (Wording::Trained, Recall { n_right: trained, n: 100 }),
                (Wording::Unseen, Recall { n_right: unseen, n: 100 }),
            ])
        });
        let general_loss = general.ln();
        run.note(TrainEvent::Evaluated(EvalReport {
            step,
            valid_loss: Some(valid_loss),
            general_loss,
            recall,
            facts: Vec::new(),
            elapsed_s: 1.0,
        }));
    }

    #[allow(clippy::unnecessary_wraps)] // as it is asked for
    fn rag(percent: usize) -> Option<Recall> {
        Some(Recall { n_right: percent, n: 100 })
    }

    /// The longest form.
    fn said(run: &Run, base_rag: Option<Recall>) -> String {
        of(run, base_rag).swap_remove(0)
    }

    #[test]
    fn nothing_is_said_before_the_first_step() {
        assert!(of(&run("qa"), None).is_empty());
    }

    #[test]
    fn the_first_loss_is_the_base_models() {
        let mut run = run("qa");
        stepped(&mut run, 1, 3.21);
        assert_eq!(
            said(&run, None),
            "A fresh adapter changes nothing yet: 3.21 is the base model's own loss."
        );
    }

    #[test]
    fn a_loss_that_is_no_number_is_blamed_on_the_learning_rate() {
        let mut run = run("qa");
        stepped(&mut run, 9, f64::NAN);
        assert!(said(&run, None).contains("learning rate is too high"));
    }

    #[test]
    fn falling_then_stopped_then_forgetting() {
        let mut run = run("qa");
        stepped(&mut run, 10, 2.0);
        measured(&mut run, 3.0, 13.0, Some((0, 0)));
        measured(&mut run, 2.0, 13.2, Some((20, 10)));
        assert_eq!(
            said(&run, None),
            "Validation is falling: 3.00 → 2.00, recall of unseen wordings still rises (10 %)."
        );
        for _ in 0..3 {
            measured(&mut run, 2.0, 26.0, Some((20, 10)));
        }
        assert_eq!(
            said(&run, None),
            "Validation has stopped falling for 3 checks, recall of unseen wordings stays at 10 %; \
             general perplexity has doubled (13.0 → 26.0): the model is forgetting."
        );
        let lengths = of(&run, None);
        assert!(lengths.iter().any(|said| {
            said == "Validation has stopped falling for 3 checks; general perplexity has doubled."
        }));
        measured(&mut run, 2.0, 69.0, None);
        assert!(said(&run, None).contains("5 times what it was"));
    }

    #[test]
    fn with_nothing_held_out_what_is_known_is_said_all_the_same() {
        let unheld = |run: &mut Run, recall| {
            measured(run, 3.0, 13.0, Some(recall));
            (run.valid, run.corpus) = Default::default();
            run.evals.iter_mut().for_each(|eval| eval.valid_loss = None);
        };
        let mut run = run("qa");
        stepped(&mut run, 10, 2.0);
        unheld(&mut run, (0, 0));
        assert!(said(&run, None).contains("first steps"));
        unheld(&mut run, (10, 5));
        assert!(
            said(&run, None)
                .starts_with("The training loss is at 2.00, recall of unseen wordings still rises")
        );
        unheld(&mut run, (90, 60));
        assert!(said(&run, None).starts_with("It answers 90 %"));
    }

    #[test]
    fn tuned_past_rag_is_said_and_so_is_the_gap() {
        let mut run = run("qa");
        stepped(&mut run, 10, 2.0);
        measured(&mut run, 3.0, 13.0, Some((0, 0)));
        measured(&mut run, 1.0, 13.0, Some((90, 60)));
        assert!(said(&run, rag(84)).starts_with("It answers 90 % of the wordings it saw and 60 %"));
        measured(&mut run, 0.5, 13.0, Some((95, 85)));
        assert!(!said(&run, rag(84)).contains("against"), "a point of a hundred says nothing");
        measured(&mut run, 0.5, 13.0, Some((98, 97)));
        assert!(said(&run, rag(84)).contains("97 % against 84 %"));
        let few = Some(Recall { n_right: 3, n: 4 });
        assert!(!said(&run, few).contains("against"), "the rival was asked four questions of a hundred");
    }

    #[test]
    fn the_documents_recipe_learns_no_facts_and_it_says_so() {
        let mut run = run("documents");
        stepped(&mut run, 10, 0.4);
        measured(&mut run, 4.4, 13.0, Some((0, 0)));
        measured(&mut run, 2.4, 60.0, Some((0, 0)));
        let sentence = said(&run, rag(84));
        assert!(
            sentence.contains("0 % of the questions are answered") && sentence.contains("5 times"),
            "{sentence}"
        );
    }

    #[test]
    fn the_result_names_both_sides_and_the_price() {
        let mut run = run("qa");
        run.n_steps = 10;
        stepped(&mut run, 10, 0.4);
        measured(&mut run, 3.0, 13.0, Some((0, 0)));
        measured(&mut run, 0.5, 27.0, Some((95, 85)));
        run.note(TrainEvent::Ended(RunOutcome::Completed));
        assert_eq!(
            result(&run, rag(84))[0],
            "Done: 10 steps in 0:10. Unseen wordings: fine-tuned 85 %, base + RAG 84 %. General perplexity 13.0 → 27.0."
        );
        assert_eq!(result(&run, rag(84))[2], "Done: unseen 85 %, general 13.0 → 27.0.");
        let few = Some(Recall { n_right: 3, n: 4 });
        assert!(
            !result(&run, few).concat().contains("RAG"),
            "the rival was asked four questions of a hundred"
        );
    }

    #[test]
    fn a_result_older_than_the_last_step_says_so() {
        let mut run = run("qa");
        run.n_steps = 10;
        measured(&mut run, 3.0, 28.1, Some((0, 0)));
        stepped(&mut run, 6, 2.4);
        run.note(TrainEvent::Ended(RunOutcome::Completed));
        let lengths = result(&run, None);
        assert_eq!(
            lengths[1],
            "Stopped and saved after 6 steps. Unseen: tuned 0 %. General 28.1 → 28.1 (both measured at step 0)."
        );
        assert_eq!(lengths[2], "Stopped after 6 steps: unseen 0 %, general 28.1 → 28.1 (at step 0).");
        measured(&mut run, 2.9, 28.0, Some((0, 0)));
        assert!(!result(&run, None).concat().contains("at step"), "now it is measured");
    }

    #[test]
    fn a_saved_run_is_named_once_and_without_its_path() {
        let mut run = run("qa");
        run.n_steps = 10;
        run.folder = Some("/home/ada/runs/1-qa".into());
        assert!(next(&run).is_empty());
        run.note(TrainEvent::Ended(RunOutcome::Completed));
        for text in next(&run) {
            assert_eq!((text.matches("1-qa").count(), text.contains("/home")), (1, false), "{text}");
        }
        run.note(TrainEvent::Saved { step: 5, spent: crate::meter::Spent::NOTHING });
        run.note(TrainEvent::Ended(RunOutcome::Cancelled));
        assert!(next(&run)[0].contains("up to step 5: `lorascope train --resume --run 1-qa`"));
    }
}
