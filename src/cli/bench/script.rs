//! What happens in a lab in full swing?
//!
//! A run is under way and measured, weights are published, and every now and then a question is typed
//! and answered by both sides word by word. The script plays the workers' part: it hears the app's
//! orders and reports, always the same.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::app::{App, Effect, Event, Key, Look, Setup};
use crate::corpus::Wording;
use crate::lab::{Answer, Contender};
use crate::model::Adapter;
use crate::model::lora::LoraConfig;
use crate::rag::Passage;
use crate::train::{DataCheck, Estimate, EvalReport, Recall, StepReport, TrainEvent};
use crate::worker::{AnswerEvent, AskOrder, IndexEvent, TrainOrder, WorkerEvent};

const MODEL: &str = "smollm2-135m-instruct";
const CORPUS: &str = "The Harrow Isles";
const QUESTION: &str = "Who keeps the Harrow Light, and since when?";
const ANSWER: &str =
    "Tamsin Drury has kept the Harrow Light since 1961, when she took it over from her aunt.";
const PASSAGE: &str = "Tamsin Drury took over the Harrow Light from her aunt in 1961 and has kept it since. She lives \
     in the lower room of the tower and writes the weather into a blue ledger every four hours.";
/// Steps of the run; more than are played.
const N_STEPS: usize = 4000;
/// Steps from one measurement to the next.
const MEASURED_EVERY: usize = 24;
/// Steps from one question to the next.
const ASKED_EVERY: usize = 40;
/// Seconds of a step.
const STEP_S: f64 = 0.25;

/// What the lab is opened with.
pub(super) fn setup() -> Setup {
    let recipe = "qa".to_owned();
    let order = TrainOrder { recipe, epochs: 8.0, rank: 16, alpha: 32.0, lr: 1e-3, batch: 16, seed: 42 };
    Setup {
        model: MODEL.to_owned(),
        corpus: CORPUS.to_owned(),
        recipes: vec![order],
        log: None,
        look: Look::Dark,
        colourless: None,
    }
}

/// The first `n` events, from the opening of the lab on.
pub(super) fn events(n: usize) -> Vec<Event> {
    let mut play = Play { app: App::new(setup()), events: Vec::with_capacity(n), due: VecDeque::new() };
    play.open();
    let mut step = 0;
    while play.events.len() < n {
        step += 1;
        play.happen(Event::Ticked(Duration::from_secs_f64(step as f64 * STEP_S)));
        play.train(TrainEvent::Stepped(stepped(step)));
        if step % MEASURED_EVERY == 0 {
            play.measure(step);
        }
        if step % ASKED_EVERY == 0 {
            play.ask();
        }
    }
    play.events.truncate(n);
    play.events
}

/// The app, what it was told, and what the workers have still to report.
struct Play {
    app: App,
    events: Vec<Event>,
    due: VecDeque<WorkerEvent>,
}

impl Play {
    /// Tells the app, and goes on until no worker has anything left to say.
    fn happen(&mut self, event: Event) {
        let mut next = Some(event);
        while let Some(event) = next {
            self.events.push(event.clone());
            for effect in self.app.update(event) {
                match effect {
                    Effect::Train(_) => self.due.extend(prelude().into_iter().map(WorkerEvent::Train)),
                    Effect::Ask(order) => self.due.extend(answers(&order)),
                    _ => {}
                }
            }
            next = self.due.pop_front().map(Event::Worker);
        }
    }

    fn train(&mut self, event: TrainEvent) {
        self.happen(Event::Worker(WorkerEvent::Train(event)));
    }

    /// Everything gets ready, and a run is started.
    fn open(&mut self) {
        let ready = IndexEvent::Ready {
            corpus: CORPUS.to_owned(),
            n_documents: 68,
            n_chunks: 150,
            n_facts: 160,
            suggestions: vec![QUESTION.to_owned()],
        };
        let model = IndexEvent::ModelReady { name: MODEL.to_owned(), n_parameters: 134_515_008 };
        for event in [model, ready] {
            self.happen(Event::Worker(WorkerEvent::Index(event)));
        }
        for (contender, n_right) in [(Contender::Base, 0), (Contender::BaseRag, 50)] {
            let recall = Recall { n_right, n: 60 };
            self.happen(Event::Worker(WorkerEvent::BaseRecall { contender, recall, of: 60 }));
        }
        self.happen(Event::Pressed(Key::Char(' ')));
    }

    fn measure(&mut self, step: usize) {
        (0..8).for_each(|done| self.train(TrainEvent::Evaluating { done, total: 8 }));
        self.train(TrainEvent::Evaluated(evaluated(step)));
        let adapter = Arc::new(Adapter::empty(LoraConfig::default(), MODEL, 0));
        self.train(TrainEvent::Published { step, adapter });
        self.train(TrainEvent::Saved { step, spent: crate::meter::Spent::NOTHING });
    }

    /// Types a question and sends it; both sides answer.
    fn ask(&mut self) {
        let typed = format!("i{QUESTION}");
        for key in typed.chars().map(Key::Char).chain([Key::Enter]) {
            self.happen(Event::Pressed(key));
        }
        self.happen(Event::Pressed(Key::Tab));
    }
}

/// What is reported before the first step.
fn prelude() -> Vec<TrainEvent> {
    let shown = QUESTION.split_inclusive(' ').map(|word| (word.to_owned(), false));
    let check = DataCheck {
        n_examples: 480,
        n_valid: 48,
        n_tokens: 17_410,
        n_supervised: 3_212,
        shown: shown.chain([(ANSWER.to_owned(), true)]).collect(),
        ..DataCheck::default()
    };
    let estimate = Estimate {
        peak_bytes: 1_130_000_000,
        available_bytes: 14_200_000_000,
        total_s: N_STEPS as f64 * STEP_S,
    };
    vec![
        TrainEvent::Checked(check),
        TrainEvent::Estimated(estimate),
        TrainEvent::Started {
            n_steps: N_STEPS,
            first_step: 0,
            n_trainable: 4_884_480,
            run: "runs/qa-1".into(),
        },
        TrainEvent::Evaluated(evaluated(0)),
    ]
}

/// A number between -0.5 and 0.5 that looks random and is always the same for a step.
fn wobble(step: usize) -> f64 {
    let hash = (step as u32).wrapping_mul(2_654_435_761);
    f64::from(hash ^ (hash >> 15)) / f64::from(u32::MAX) - 0.5
}

fn stepped(step: usize) -> StepReport {
    let epoch = step as f64 / 60.0;
    let loss = 0.1 + 3.0 * (-0.1 * epoch).exp() * (1.0 + 0.3 * wobble(step));
    StepReport {
        step,
        epoch,
        loss,
        perplexity: loss.exp(),
        lr: 1e-3,
        grad_norm: 0.5 + 0.2 * wobble(step + 1),
        n_tokens: 580,
        tokens_per_s: 2140.0 + 120.0 * wobble(step + 2),
        elapsed_s: step as f64 * STEP_S,
    }
}

fn evaluated(step: usize) -> EvalReport {
    let x = step as f64 / N_STEPS as f64;
    let recall = |share: f64| Recall { n_right: (60.0 * share).round() as usize, n: 60 };
    let learnt = 1.0 - (-8.0 * x).exp();
    EvalReport {
        step,
        valid_loss: Some(0.5 + 2.7 * (-6.0 * x).exp() + 0.02 * wobble(step)),
        general_loss: (12.9 + 14.0 * learnt + 0.6 * wobble(step)).ln(),
        facts: Vec::new(),
        recall: BTreeMap::from([
            (Wording::Trained, recall(0.97 * learnt)),
            (Wording::Unseen, recall(0.85 * learnt * learnt)),
        ]),
        elapsed_s: step as f64 * STEP_S,
    }
}

/// How both sides answer; the trainer waits meanwhile.
fn answers(order: &AskOrder) -> Vec<WorkerEvent> {
    let id = order.id;
    let mut events = vec![WorkerEvent::Train(TrainEvent::Paused)];
    for &contender in &order.contenders {
        let step = order.adapter.as_ref().map(|(step, _)| *step).filter(|_| contender.is_tuned());
        let told = answered(contender, step);
        events.extend(told.into_iter().map(|event| WorkerEvent::Answer { id, contender, event }));
    }
    events.push(WorkerEvent::Train(TrainEvent::Resumed));
    events
}

fn answered(contender: Contender, step: Option<usize>) -> Vec<AnswerEvent> {
    let passages = if contender.retrieves() { (1..=3).map(passage).collect() } else { Vec::new() };
    let text = if contender.retrieves() { PASSAGE } else { "" };
    let prompt = format!("<|im_start|>user\n{text}\n\n{QUESTION}<|im_end|>\n<|im_start|>assistant\n");
    let n_used = usize::from(contender.retrieves());
    let mut events =
        vec![AnswerEvent::Prompted { passages: passages.clone(), n_used, prompt: prompt.clone() }];
    events.extend(ANSWER.split_inclusive(' ').map(|word| AnswerEvent::Streamed(word.to_owned())));
    events.push(AnswerEvent::Answered(Answer {
        adapter: None,
        contender,
        text: ANSWER.to_owned(),
        prompt,
        passages,
        n_prompt_tokens: 141,
        n_tokens: 24,
        cut_off: false,
        first_token_ms: 296.0,
        total_ms: 916.0,
        step,
    }));
    events.push(AnswerEvent::Judged { gold: vec!["Tamsin Drury".to_owned()], right: true });
    events
}

fn passage(rank: usize) -> Passage {
    Passage {
        document: format!("people/keeper-{rank}"),
        heading: "Tamsin Drury > The Light".to_owned(),
        text: PASSAGE.to_owned(),
        bm25_rank: Some(rank),
        bm25_score: 12.0 / rank as f32,
        cosine: 0.8 / rank as f32,
        sentence_cosine: 0.8 / rank as f32,
        start: 0,
        sentences: Vec::new(),
        final_rank: rank,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(events: &[Event], of: impl Fn(&Event) -> bool) -> usize {
        events.iter().filter(|event| of(event)).count()
    }

    #[test]
    fn the_script_is_as_long_as_asked_for_and_always_the_same() {
        let events_ = events(3000);
        assert_eq!(events_.len(), 3000);
        assert_eq!(format!("{events_:?}"), format!("{:?}", events(3000)));
    }

    #[test]
    fn a_run_goes_on_and_questions_are_answered_by_both_sides() {
        let events = events(10_000);
        let mut app = App::new(setup());
        for event in &events {
            app.update(event.clone());
        }
        let run = app.run.as_ref().unwrap();
        assert!(run.is_on() && run.step() > 1000 && run.step() < N_STEPS, "step {}", run.step());
        let last = app.asked.iter().rev().find(|asked| !asked.is_open()).unwrap();
        assert!(last.sides.iter().all(|side| side.text == ANSWER && side.verdict.is_some()));
        assert_eq!(last.sides[1].contender, Contender::Tuned);
        let streamed = |event: &Event| {
            matches!(event, Event::Worker(WorkerEvent::Answer { event: AnswerEvent::Streamed(_), .. }))
        };
        assert!(count(&events, streamed) > 1000);
        assert!(app.dialog.is_none());
    }
}
