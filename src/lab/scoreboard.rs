//! How many questions does each contender answer right?

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use serde::Serialize;

use std::time::Instant;

use super::answer::{digest_of, prompt_of};
use super::{Answering, Brief, Contender, Desk, Tuned};
use super::{
    Comparison, Degeneration, Gold, Wanted, abstains, compare, degeneration, exact_match, f1, gold, wilson,
};
use super::{is_grounded, is_off_type};
use crate::cancel::Cancel;
use crate::corpus::{Corpus, Question, Wording, contains_gold};
use crate::error::{Error, Result};
use crate::model::generate::{Written, generate_keeping};
use crate::train::Recall;

/// Questions answered together.
const TOGETHER: usize = 32;

/// A question of the corpus, with where its answer stands.
#[derive(Debug, Clone, Copy)]
pub struct Item<'a> {
    /// The fact's id.
    pub fact: &'a str,
    /// Documents that state it.
    pub documents: &'a [String],
    /// The question, with its accepted answers.
    pub question: &'a Question,
}

/// The corpus's questions of a wording, in the order of its facts; of the trained ones the first `n_trained` of a fact.
pub fn items(corpus: &Corpus, wording: Wording, n_trained: usize) -> Vec<Item<'_>> {
    let mut items = Vec::new();
    for fact in &corpus.facts {
        let item = |question| Item { fact: &fact.id, documents: &fact.documents, question };
        items.extend(fact.asked(wording, n_trained).map(item));
    }
    items
}

/// What one contender made of one question.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outcome {
    /// Who answered.
    pub contender: Contender,
    /// The fact's id.
    pub fact: String,
    /// How the question relates to the training data.
    pub wording: Wording,
    /// The question.
    pub question: String,
    /// Accepted answers; empty where the corpus does not say.
    pub gold: Vec<String>,
    /// What was answered.
    pub text: String,
    /// The exact text the model read.
    pub prompt: String,
    /// The digest of the adapter it was answered with; `None` for the base model.
    pub adapter: Option<String>,
    /// Documents of the passages in the prompt, best first.
    pub passages: Vec<String>,
    /// Whether a passage in the prompt is of a document that states the fact; `None` for closed-book contenders.
    pub right_passage: Option<bool>,
    /// Whether what the answer claims stands in the passages that the prompt holds; `None` for closed-book contenders, and
    /// for an answer that claims nothing.
    pub grounded: Option<bool>,
    /// Whether the answer contains an accepted one; for what the corpus does not say, whether it says so.
    pub contains: bool,
    /// Whether it is an accepted one, and nothing else (`SQuAD`).
    pub exact: bool,
    /// Overlap in words with the nearest accepted one, 0 to 1 (`SQuAD`).
    pub f1: f64,
    /// How the answer is broken, if it is.
    pub degenerate: Option<Degeneration>,
    /// How likely the contender holds the first accepted answer to be, after the same prompt; `None` where there is none.
    pub gold_answer: Option<Gold>,
}

/// Puts questions to one contender, and says what answering took (that the right answers are read once more is not in it).
/// `watch` hears how many are answered.
///
/// # Errors
/// When a question cannot be asked, when a prompt does not hold the passages it should, or when cancelled.
pub fn examine(
    desk: &Desk,
    (contender, items): (Contender, &[Item]),
    tuned: Option<Tuned>,
    cancel: &Cancel,
    watch: &mut dyn FnMut(usize),
) -> Result<(Vec<Outcome>, Answering)> {
    let mut outcomes = Vec::with_capacity(items.len());
    let mut answering = Answering::default();
    for group in items.chunks(TOGETHER) {
        cancel.check()?;
        watch(outcomes.len());
        let started = Instant::now();
        let briefs = group.iter().map(|item| brief(desk, contender, item)).collect::<Result<Vec<_>>>()?;
        let prompts: Vec<_> = briefs.iter().map(|brief| prompt_of(brief, tuned)).collect();
        let go_on = &mut |_, _| ControlFlow::Continue(());
        let model = desk.model;
        let written =
            generate_keeping(&model.decoder, &prompts, (&desk.sampling, &model.stop), cancel, go_on)?;
        let took = started.elapsed().as_secs_f64();
        let (mut answers, mut wanted) = (Vec::new(), Vec::new());
        for ((item, prompt), Written { tokens, cache }) in group.iter().zip(&prompts).zip(written) {
            answers.push(tokens);
            wanted.extend(item.question.answers.first().map(|answer| Wanted { prompt, cache, answer }));
        }
        answering.note(took, &briefs, &answers);
        let mut likely = gold(model, wanted)?.into_iter();
        drop(prompts);
        for ((item, brief), tokens) in group.iter().zip(briefs).zip(answers) {
            let text = model.tokenizer.decode(&tokens)?.trim().to_owned();
            let gold_answer = item.question.answers.first().and_then(|_| likely.next());
            outcomes.push(Outcome {
                adapter: digest_of(contender, tuned),
                ..scored(item, brief, (text, gold_answer))
            });
        }
    }
    watch(outcomes.len());
    Ok((outcomes, answering))
}

fn brief(desk: &Desk, contender: Contender, item: &Item) -> Result<Brief> {
    let question = &item.question.text;
    let passages = if contender.retrieves() { desk.look_up(question)?.passages } else { Vec::new() };
    let brief = desk.brief(contender, question, &passages)?;
    checked(&brief)?;
    Ok(brief)
}

/// Errors of the retriever and of the reader are told apart by which passages were read: so the prompt must hold just
/// those that are named.
fn checked(brief: &Brief) -> Result<()> {
    const BEGINNING: usize = 24;
    let used = &brief.passages[..brief.n_used];
    let beginning = |text: &str| text.trim().chars().take(BEGINNING).collect::<String>();
    let missing = used.iter().find(|passage| !brief.prompt.contains(beginning(&passage.text).trim_end()));
    let (name, faulty) = (brief.contender.name(), "this is a fault of lorascope: please report it");
    if let Some(passage) = missing {
        let what =
            format!("a prompt of {name} does not hold the passage of {} that it names", passage.document);
        return Err(Error::refused(what, faulty));
    }
    if !(brief.contender.retrieves() || used.is_empty() && brief.read.is_empty()) {
        return Err(Error::refused(format!("a prompt of {name} holds passages"), faulty));
    }
    Ok(())
}

fn scored(item: &Item, brief: Brief, (text, gold_answer): (String, Option<Gold>)) -> Outcome {
    let gold = item.question.answers.clone();
    let used = &brief.passages[..brief.n_used];
    let is_right = |document: &String| item.documents.contains(document);
    let abstained = gold.is_empty() && abstains(&text);
    Outcome {
        contender: brief.contender,
        fact: item.fact.to_owned(),
        wording: item.question.wording,
        question: item.question.text.clone(),
        contains: abstained || contains_gold(&text, &gold),
        exact: abstained || exact_match(&text, &gold),
        f1: if abstained { 1.0 } else { f1(&text, &gold) },
        degenerate: degeneration(&text)
            .or_else(|| is_off_type(&text, &gold).then_some(Degeneration::OffType)),
        gold_answer,
        adapter: None,
        right_passage: brief
            .contender
            .retrieves()
            .then(|| used.iter().any(|passage| is_right(&passage.document))),
        grounded: (brief.contender.retrieves() && !abstained)
            .then(|| is_grounded(&text, &item.question.text, &brief.read))
            .flatten(),
        passages: brief.passages.into_iter().take(brief.n_used).map(|passage| passage.document).collect(),
        prompt: brief.prompt,
        gold,
        text,
    }
}

/// One contender's result on one wording; shares are 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Tally {
    /// Questions asked.
    pub n: usize,
    /// Share of answers that contain an accepted one (for unanswerable questions: that say so).
    pub contains: f64,
    /// Share that is an accepted one, exactly.
    pub exact: f64,
    /// Mean F1.
    pub f1: f64,
    /// Wilson's 95 % interval of `contains`.
    pub ci95: [f64; 2],
    /// Share of broken answers, those of another kind than was asked for included.
    pub degenerate: f64,
    /// Share of answers that are whole, but of another kind than was asked for.
    pub off_type: f64,
    /// Of the answers that claim something, the share whose claim stands in the passages given; `None` for closed-book
    /// contenders.
    pub grounded: Option<f64>,
    /// Mean of the log-probabilities, in nats a token, of the accepted answers.
    pub gold_log_prob: Option<f64>,
    /// The median of their worst ranks.
    pub gold_rank: Option<usize>,
}

impl Tally {
    /// Counts outcomes; `None` where there is none.
    pub fn of<'a>(outcomes: impl IntoIterator<Item = &'a Outcome>) -> Option<Self> {
        let (mut n, mut right, mut exact, mut broken, mut f1) = (0, 0, 0, 0, 0.0);
        let (mut off_type, mut n_claims, mut n_grounded) = (0, 0, 0);
        let mut likely: Vec<Gold> = Vec::new();
        for outcome in outcomes {
            n += 1;
            right += usize::from(outcome.contains);
            exact += usize::from(outcome.exact);
            broken += usize::from(outcome.degenerate.is_some());
            off_type += usize::from(outcome.degenerate == Some(Degeneration::OffType));
            n_claims += usize::from(outcome.grounded.is_some());
            n_grounded += usize::from(outcome.grounded == Some(true));
            f1 += outcome.f1;
            likely.extend(outcome.gold_answer);
        }
        if n == 0 {
            return None;
        }
        let share = |count: usize| count as f64 / n as f64;
        let (low, high) = wilson(right, n);
        let sum: f64 = likely.iter().map(|gold| gold.log_prob).sum();
        let mut ranks: Vec<usize> = likely.iter().map(|gold| gold.rank).collect();
        ranks.sort_unstable();
        Some(Self {
            n,
            contains: share(right),
            exact: share(exact),
            f1: f1 / n as f64,
            ci95: [low, high],
            degenerate: share(broken),
            off_type: share(off_type),
            grounded: (n_claims > 0).then(|| n_grounded as f64 / n_claims as f64),
            gold_log_prob: (!likely.is_empty()).then(|| sum / likely.len() as f64),
            gold_rank: ranks.get(ranks.len() / 2).copied(),
        })
    }
}

/// Retriever's and reader's part in a contender's result, over questions with an answer.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Reading {
    /// Questions asked.
    pub n: usize,
    /// Share whose prompt holds a passage of a right document.
    pub right_passage: f64,
    /// Share of right answers among those.
    pub right_with_it: f64,
    /// Share of right answers among the others.
    pub right_without: f64,
}

impl Reading {
    /// Counts outcomes; `None` where there is none with passages.
    pub fn of<'a>(outcomes: impl IntoIterator<Item = &'a Outcome>) -> Option<Self> {
        // [without, with the right passage]: (right answers, all)
        let mut counts = [(0, 0); 2];
        for outcome in outcomes {
            let Some(has_it) = outcome.right_passage else { continue };
            let (right, n) = &mut counts[usize::from(has_it)];
            *right += usize::from(outcome.contains);
            *n += 1;
        }
        let n = counts[0].1 + counts[1].1;
        let share = |(part, whole): (usize, usize)| if whole == 0 { 0.0 } else { part as f64 / whole as f64 };
        (n > 0).then(|| Self {
            n,
            right_passage: share((counts[1].1, n)),
            right_with_it: share(counts[1]),
            right_without: share(counts[0]),
        })
    }
}

/// The scoreboard: each contender by wording.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Scoreboard {
    /// Results by contender and wording.
    pub contenders: BTreeMap<Contender, BTreeMap<Wording, Tally>>,
    /// Retriever and reader told apart, for contenders that retrieve.
    pub reading: BTreeMap<Contender, BTreeMap<Wording, Reading>>,
}

impl Scoreboard {
    /// Counts outcomes.
    pub fn of(outcomes: &[Outcome]) -> Self {
        let mut board = Self::default();
        for contender in Contender::ALL {
            for wording in Wording::ALL {
                let fits = |outcome: &&Outcome| outcome.contender == contender && outcome.wording == wording;
                let own: Vec<&Outcome> = outcomes.iter().filter(fits).collect();
                if let Some(tally) = Tally::of(own.iter().copied()) {
                    board.contenders.entry(contender).or_default().insert(wording, tally);
                }
                let reading = Reading::of(own.iter().copied());
                if let Some(reading) = reading.filter(|_| wording != Wording::Unanswerable) {
                    board.reading.entry(contender).or_default().insert(wording, reading);
                }
            }
        }
        board
    }
}

/// Every two contenders on the questions that both answered, by wording: who is better, as far as can be told.
pub fn comparisons(outcomes: &[Outcome]) -> Vec<Comparison> {
    let mut all = Vec::new();
    for wording in Wording::ALL {
        let of = |contender: Contender| -> BTreeMap<(&str, &str), bool> {
            let own = outcomes.iter().filter(|o| o.contender == contender && o.wording == wording);
            own.map(|o| ((o.fact.as_str(), o.question.as_str()), o.contains)).collect()
        };
        for (i, first) in Contender::ALL.into_iter().enumerate() {
            for second in Contender::ALL.into_iter().skip(i + 1) {
                let (one, other) = (of(first), of(second));
                let pairs: Vec<_> =
                    one.iter().filter_map(|(asked, right)| Some((*right, *other.get(asked)?))).collect();
                if !pairs.is_empty() {
                    all.push(compare(first, second, Some(wording), &pairs));
                }
            }
        }
    }
    all
}

/// How many of these questions an untuned contender answers right.
///
/// # Errors
/// As [`examine`].
pub fn recall_of(desk: &Desk, (contender, items): (Contender, &[Item]), cancel: &Cancel) -> Result<Recall> {
    let (outcomes, _) = examine(desk, (contender, items), None, cancel, &mut |_| {})?;
    let n_right = outcomes.iter().filter(|outcome| outcome.contains).count();
    Ok(Recall { n_right, n: outcomes.len() })
}
