//! What does one run show about a claim?

use std::fmt::Write;

use super::{Borne, Claim, Evidence, Finding, Share};
use crate::lab::comparison::{SIGNIFICANT, p_in_words};
use crate::lab::{Contender, with_interval};
use crate::train::Recipe;

/// Bytes of a trained weight's gradient and of the two moments of its optimizer.
const BYTES_A_WEIGHT: f64 = 12.0;

/// What the run shows; `None` where it was not measured, or says nothing about this claim.
pub(super) fn of(claim: Claim, evidence: &Evidence) -> Option<Finding> {
    let is_task = evidence.recipe.is_some_and(Recipe::is_task);
    let (verdict, measured) = match claim {
        Claim::Facts if !is_task => facts(evidence)?,
        Claim::Retrieval if !is_task => retrieval(evidence)?,
        Claim::Gibberish if !is_task => gibberish(evidence)?,
        Claim::Forgetting => forgetting(evidence)?,
        Claim::Savings => savings(evidence)?,
        Claim::Update => update(evidence)?,
        Claim::Style if evidence.recipe == Some(Recipe::Style) => task(evidence)?,
        Claim::Sentiment if evidence.recipe == Some(Recipe::Sentiment) => task(evidence)?,
        Claim::Money => money(evidence)?,
        _ => return None,
    };
    Some(Finding { run: evidence.run.clone(), about: evidence.about.clone(), measured, verdict })
}

fn facts(evidence: &Evidence) -> Option<(Borne, String)> {
    let tuned = evidence.unseen.get(&Contender::Tuned)?;
    let verdict = below_half(*tuned);
    Some((verdict, format!("{} of unseen wordings", told(*tuned))))
}

fn retrieval(evidence: &Evidence) -> Option<(Borne, String)> {
    let (rag, tuned) = (evidence.unseen.get(&Contender::BaseRag)?, evidence.unseen.get(&Contender::Tuned)?);
    let p = evidence.p_against_rag?;
    let verdict = if p >= SIGNIFICANT {
        Borne::Depends
    } else if rag.value() > tuned.value() {
        Borne::Held
    } else {
        Borne::NotHeld
    };
    Some((verdict, format!("base+rag {}, tuned {}, {}", told(*rag), told(*tuned), p_in_words(p))))
}

fn gibberish(evidence: &Evidence) -> Option<(Borne, String)> {
    let share = evidence.gibberish?;
    let verdict = match below_half(share) {
        Borne::Held => Borne::NotHeld,
        Borne::NotHeld => Borne::Held,
        Borne::Depends => Borne::Depends,
    };
    Some((verdict, format!("{} of all answers", told(share))))
}

fn forgetting(evidence: &Evidence) -> Option<(Borne, String)> {
    let [before, after] = evidence.general?;
    let rose = after / before;
    let mut measured = format!("general perplexity {before:.1} to {after:.1}");
    if let Some([before, after]) = evidence.verse {
        let _ = write!(measured, ", of verse {before:.1} to {after:.1}");
    }
    let mut quiz_fell = false;
    if let Some([base, tuned]) = evidence.quiz {
        quiz_fell = tuned.ci95()[1] < base.ci95()[0];
        let _ = write!(measured, "; quiz {} to {} of {}", base.count, tuned.count, base.n);
    }
    let verdict = match rose {
        rose if rose >= 1.2 || quiz_fell => Borne::Held,
        rose if rose < 1.05 => Borne::NotHeld,
        _ => Borne::Depends,
    };
    Some((verdict, measured))
}

fn savings(evidence: &Evidence) -> Option<(Borne, String)> {
    let (trained, all) = evidence.weights.filter(|(_, all)| *all > 0)?;
    let share = trained as f64 / all as f64;
    let megabytes = |n: usize| n as f64 * BYTES_A_WEIGHT / 1e6;
    let measured = format!(
        "{:.1} of {:.0} million weights trained ({:.1} %): {:.0} MB of gradients and moments in place of {:.0}",
        trained as f64 / 1e6,
        all as f64 / 1e6,
        share * 100.0,
        megabytes(trained),
        megabytes(all)
    );
    Some((if share < 0.1 { Borne::Held } else { Borne::NotHeld }, measured))
}

fn update(evidence: &Evidence) -> Option<(Borne, String)> {
    let index = evidence.cost.as_ref()?.indexing.as_ref()?.one_changed.seconds;
    let training = evidence.training?.seconds;
    let verdict = match training / index.max(1e-9) {
        times if times >= 10.0 => Borne::Held,
        times if times < 1.0 => Borne::NotHeld,
        _ => Borne::Depends,
    };
    let measured = format!("index {}, a run {}", seconds(index), seconds(training));
    Some((verdict, measured))
}

fn task(evidence: &Evidence) -> Option<(Borne, String)> {
    let tuned = *evidence.unseen.get(&Contender::Tuned)?;
    let base = *evidence.unseen.get(&Contender::Base)?;
    let shots = evidence.unseen.get(&Contender::BaseRag).copied();
    let is_above = |rival: Share| tuned.ci95()[0] > rival.ci95()[1];
    let verdict = if is_above(base) && shots.is_none_or(is_above) {
        Borne::Held
    } else if tuned.value() <= base.value() {
        Borne::NotHeld
    } else {
        Borne::Depends
    };
    let mut measured = format!("tuned {}, base {}", told(tuned), told(base));
    if let Some(shots) = shots {
        let _ = write!(measured, ", base with examples {}", told(shots));
    }
    Some((verdict, measured))
}

fn money(evidence: &Evidence) -> Option<(Borne, String)> {
    let cost = evidence.cost.as_ref()?;
    let (training, index) = (evidence.training?, cost.indexing.as_ref()?.all);
    let each = |contender| Some(cost.answers.get(&contender)?.seconds_each());
    let (rag, tuned) = (each(Contender::BaseRag)?, each(Contender::Tuned)?);
    let price = cost.price_per_hour;
    let paid_back = paid_back(training.seconds - index.seconds, rag - tuned);
    let verdict = match paid_back {
        None => Borne::Held,
        Some(n) if n >= 1000.0 => Borne::Held,
        Some(n) if n < 100.0 => Borne::NotHeld,
        Some(_) => Borne::Depends,
    };
    let back = match paid_back {
        Some(n) => format!("paid back after {n:.0} questions"),
        None => "never paid back".to_owned(),
    };
    let measured = format!(
        "training ${:.4}, index ${:.4} at ${price:.2} an hour; an answer {} with retrieval, {} tuned: {back}",
        training.money(price),
        index.money(price),
        seconds(rag),
        seconds(tuned)
    );
    Some((verdict, measured))
}

/// Questions after which what was spent in advance is saved again; `None` if never.
fn paid_back(spent: f64, saved_each: f64) -> Option<f64> {
    if spent <= 0.0 {
        return Some(0.0);
    }
    (saved_each > 0.0).then(|| (spent / saved_each).ceil())
}

/// Held where the interval lies below one half, not where above.
fn below_half(share: Share) -> Borne {
    match share.ci95() {
        [_, high] if high < 0.5 => Borne::Held,
        [low, _] if low > 0.5 => Borne::NotHeld,
        _ => Borne::Depends,
    }
}

fn told(share: Share) -> String {
    with_interval(share.value(), share.ci95())
}

fn seconds(s: f64) -> String {
    match s {
        s if s < 1.0 => format!("{s:.2} s"),
        s if s < 100.0 => format!("{s:.1} s"),
        s => format!("{s:.0} s"),
    }
}
