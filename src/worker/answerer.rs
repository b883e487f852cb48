//! How does a question become two answers while everything else goes on?

use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use super::crew::{Indexed, Shared, guarded, next_order};
use super::librarian::{current, kept};
use super::{AnswerEvent, AskOrder, WorkerEvent};
use crate::cancel::Cancel;
use crate::corpus::{ANSWER_TOKENS, Wording, contains_gold};
use crate::error::{Error, Result};
use crate::lab::scoreboard::{items, recall_of};
use crate::lab::{Contender, Desk, Tuned, answer, gold_of};
use crate::model::generate::Sampling;
use crate::rag::{Index, Rerank};
use crate::train::data::spread;
use crate::train::{RECALL_SAMPLE, Recall};

/// How often an idle answerer looks whether there is something to measure.
const PAUSE: Duration = Duration::from_millis(100);
/// While a run goes on, this much time lies between two groups of measured questions.
const IN_A_RUN: Duration = Duration::from_secs(4);
/// Questions of one group.
const GROUP: usize = 4;

/// Answers what is asked; in idle moments, measures what the untuned contenders recall.
pub(super) fn serve(shared: &Shared, orders: &Receiver<AskOrder>) {
    let mut measuring = Measuring::default();
    loop {
        match next_order(orders, PAUSE) {
            Ok(Some(order)) => guarded(shared, "answerer", || carry_out(shared, &order)),
            Ok(None) => guarded(shared, "answerer", || measuring.go_on(shared)),
            Err(()) => return,
        }
        if shared.is_leaving() {
            return;
        }
    }
}

fn desk_of<'a>(shared: &'a Shared, index: &'a Index, max_tokens: usize) -> Result<Desk<'a>> {
    let stock = shared.stock()?;
    Ok(Desk {
        model: &stock.model,
        index: Some(index),
        form: stock.form,
        rerank: Rerank::default(),
        sampling: Sampling { max_tokens, ..Sampling::default() },
    })
}

fn carry_out(shared: &Shared, order: &AskOrder) {
    let cancel = shared.cancel_of(order.id);
    let tell = |contender, event| {
        shared.report(WorkerEvent::Answer { id: order.id, contender, event });
    };
    if let Err(error) = answered(shared, order, &cancel) {
        let cause = error.to_string();
        let failed = |_| AnswerEvent::Failed(cause.clone());
        if !matches!(error, Error::Cancelled) {
            order.contenders.iter().for_each(|&contender| tell(contender, failed(contender)));
        }
    }
    shared.forget(order.id);
}

fn answered(shared: &Shared, order: &AskOrder, cancel: &Cancel) -> Result<()> {
    cancel.check()?;
    // The run waits between steps until this is dropped.
    let _guard = shared.controls().map(|controls| controls.answering());
    let Indexed { corpus, index, .. } = current(shared, cancel)?;
    let desk = desk_of(shared, &index, Sampling::default().max_tokens)?;
    let tuned = order.adapter.as_ref().map(|(step, adapter)| Tuned {
        adapter,
        step: Some(*step),
        scale: 1.0,
        digest: None,
    });
    let gold = gold_of(&corpus, &order.question);
    let mut note = |contender, event: AnswerEvent| {
        let judged = match (&event, &gold) {
            (AnswerEvent::Answered(answer), Some(gold)) => {
                Some(AnswerEvent::Judged { gold: gold.clone(), right: contains_gold(&answer.text, gold) })
            }
            _ => None,
        };
        for event in [Some(event), judged].into_iter().flatten() {
            shared.report(WorkerEvent::Answer { id: order.id, contender, event });
        }
    };
    answer(&desk, (&order.question, &order.contenders), tuned, cancel, &mut note)?;
    Ok(())
}

/// The recall of base and base + RAG on a sample of unseen questions, a few at a time.
#[derive(Default)]
struct Measuring {
    done: usize,
    recalls: [Recall; 2],
    last: Option<Instant>,
    /// Of the documents that are asked about.
    stamp: Option<u64>,
}

impl Measuring {
    const CONTENDERS: [Contender; 2] = [Contender::Base, Contender::BaseRag];

    /// Measures the next group, if there is one and nothing is more urgent.
    fn go_on(&mut self, shared: &Shared) {
        let Ok(Indexed { corpus, index, stamp }) = kept(shared) else { return };
        if self.stamp != Some(stamp) {
            // Other documents are another measurement.
            *self = Self { stamp: Some(stamp), last: self.last, ..Self::default() };
        }
        let too_early = self.last.is_some_and(|last| last.elapsed() < IN_A_RUN);
        if shared.controls().is_some() && (too_early || self.last.is_none()) {
            self.last.get_or_insert_with(Instant::now);
            return;
        }
        let unseen = items(&corpus, Wording::Unseen, usize::MAX);
        let sample: Vec<_> = spread(&unseen, RECALL_SAMPLE).copied().collect();
        let group = &sample[self.done.min(sample.len())..(self.done + GROUP).min(sample.len())];
        if group.is_empty() {
            return;
        }
        let cancel = shared.begin_measuring();
        let Ok(desk) = desk_of(shared, &index, ANSWER_TOKENS) else { return };
        self.last = Some(Instant::now());
        let more: Result<Vec<Recall>> =
            Self::CONTENDERS.iter().map(|&contender| recall_of(&desk, (contender, group), &cancel)).collect();
        match more {
            // A question came: this group is measured again later.
            Err(Error::Cancelled) => return,
            Err(error) => tracing::warn!(%error, "a group of questions was not measured"),
            Ok(more) => {
                for ((contender, recall), more) in
                    Self::CONTENDERS.into_iter().zip(&mut self.recalls).zip(more)
                {
                    *recall = Recall { n_right: recall.n_right + more.n_right, n: recall.n + more.n };
                    shared.report(WorkerEvent::BaseRecall { contender, recall: *recall, of: sample.len() });
                }
            }
        }
        self.done += group.len();
        self.last = Some(Instant::now());
    }
}
