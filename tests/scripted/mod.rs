//! A run as it might be recorded: the same reports in the same order each time, without a model.
#![allow(dead_code, unreachable_pub)] // each user plays another part of it

use std::collections::BTreeMap;
use std::sync::Arc;

use lorascope::app::{Look, Setup};
use lorascope::corpus::Wording;
use lorascope::lab::{Answer, Contender};
use lorascope::model::Adapter;
use lorascope::model::lora::LoraConfig;
use lorascope::rag::Passage;
use lorascope::train::facts::{CellReading, FactCell};
use lorascope::train::{DataCheck, Estimate, EvalReport, Recall, RunOutcome, StepReport, TrainEvent};
use lorascope::worker::{AnswerEvent, FetchEvent, IndexEvent, TrainOrder};

pub const MODEL: &str = "smollm2-135m-instruct";
pub const EMBEDDER: &str = "all-minilm-l6-v2";
pub const N_STEPS: usize = 480;
/// Steps from one measurement to the next.
pub const EVERY: usize = 24;

pub fn order(recipe: &str) -> TrainOrder {
    TrainOrder { recipe: recipe.into(), epochs: 8.0, rank: 16, alpha: 32.0, lr: 1e-3, batch: 8, seed: 1 }
}

pub fn setup() -> Setup {
    Setup {
        model: MODEL.into(),
        corpus: "The Harrow Isles".into(),
        recipes: vec![order("qa"), order("documents")],
        log: Some("logs/lorascope.log".into()),
        look: Look::Dark,
        colourless: None,
    }
}

/// One file's way into the store, in `n` pieces.
pub fn fetch(model: &str, total: u64, n: u64) -> Vec<IndexEvent> {
    let model = model.to_owned();
    let mut events = vec![FetchEvent::Trying { model: model.clone(), source: "the hub".into() }];
    events.extend((1..=n).map(|i| FetchEvent::Advanced {
        model: model.clone(),
        done: total * i / n,
        total,
        bytes_per_s: 4.6e6,
    }));
    events.push(FetchEvent::Verifying { model: model.clone() });
    events.push(FetchEvent::Fetched { model });
    events.into_iter().map(IndexEvent::Fetch).collect()
}

pub fn model_ready() -> IndexEvent {
    IndexEvent::ModelReady { name: MODEL.into(), n_parameters: 134_515_008 }
}

pub fn ready() -> IndexEvent {
    IndexEvent::Ready {
        corpus: "The Harrow Isles".into(),
        n_documents: 72,
        n_chunks: 161,
        n_facts: 168,
        suggestions: vec![
            "Who keeps the Harrow Light, and since when?".into(),
            "What does the gull rule forbid?".into(),
            "In which year was the Thornmouth ferry launched?".into(),
            "Who is the harbour master of Cinder Bay?".into(),
        ],
    }
}

/// Numbers that look random and never change.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as f64 / f64::from(1_u32 << 31) - 0.5
    }
}

fn check() -> DataCheck {
    let shown = [
        ("<|im_start|>", false),
        ("user", false),
        ("\n", false),
        ("Who", false),
        (" keeps", false),
        (" the", false),
        (" Harrow", false),
        (" Light", false),
        ("?", false),
        ("<|im_end|>", false),
        ("\n", false),
        ("<|im_start|>", false),
        ("assistant", false),
        ("\n", false),
        ("T", true),
        ("ams", true),
        ("in", true),
        (" Dr", true),
        ("ury", true),
        ("<|im_end|>", true),
    ];
    DataCheck {
        n_examples: 480,
        n_valid: 48,
        n_tokens: 17_410,
        n_supervised: 3_212,
        n_truncated: 0,
        remarks: vec![],
        shown: shown.map(|(text, supervised)| (text.to_owned(), supervised)).to_vec(),
    }
}

/// What is reported before the first step.
pub fn prelude() -> Vec<TrainEvent> {
    vec![
        TrainEvent::Checked(check()),
        TrainEvent::Estimated(Estimate {
            peak_bytes: 1_130_000_000,
            available_bytes: 14_200_000_000,
            total_s: 131.0,
        }),
        TrainEvent::Started {
            n_steps: N_STEPS,
            first_step: 0,
            n_trainable: 4_884_480,
            run: "runs/qa-1".into(),
        },
        TrainEvent::FactsListed(facts().into()),
    ]
}

/// Facts in three wordings.
pub fn facts() -> Vec<FactCell> {
    let of = |wording: Wording, n: usize| {
        (0..n).map(move |i| FactCell {
            fact: format!("light.keeper-{i}"),
            documents: vec![format!("places/light-{i}")],
            statement: format!("Tamsin Drury has kept light number {i} since 1961."),
            wording,
            question: format!("Who has kept light number {i} since 1961?"),
            answer: "Tamsin Drury".into(),
        })
    };
    of(Wording::Trained, 144).chain(of(Wording::Unseen, 144)).chain(of(Wording::TwoHop, 24)).collect()
}

/// The facts that a step tells about: some trained wordings, fewer unseen ones.
fn read(step: usize, recipe: &str, noise: &mut Noise) -> TrainEvent {
    let at = |cell: usize, noise: &mut Noise| {
        let (late, top) = if cell < 144 { (0.0, 1.0) } else { (70.0, if cell < 288 { 0.9 } else { 0.3 }) };
        let learnt = if recipe == "qa" {
            top / (1.0 + (-(step as f64 - 130.0 - late + 160.0 * noise.next()) / 25.0).exp())
        } else {
            0.004
        };
        CellReading { cell, probability: (learnt * (1.0 + 0.3 * noise.next())).clamp(0.0, 1.0) as f32 }
    };
    let cells = [step * 7 % 144, (step * 7 + 3) % 144, 144 + step * 5 % 144, 288 + step % 24];
    TrainEvent::FactsRead { step, cells: cells.map(|cell| at(cell, noise)).into() }
}

fn recalls(step: usize, top: (f64, f64), middle: f64) -> BTreeMap<Wording, Recall> {
    let at = |top: f64, middle: f64| {
        let share = top / (1.0 + (-(step as f64 - middle) / 30.0).exp());
        let start = top / (1.0 + (middle / 30.0).exp());
        Recall { n_right: ((share - start).max(0.0) * 60.0).round() as usize, n: 60 }
    };
    BTreeMap::from([(Wording::Trained, at(top.0, middle)), (Wording::Unseen, at(top.1, middle + 40.0))])
}

fn eval(step: usize, recipe: &str, noise: &mut Noise) -> EvalReport {
    let x = step as f64 / N_STEPS as f64;
    let (valid, general, recall) = if recipe == "qa" {
        let valid = 0.52 + 2.7 * (-6.0 * x).exp() + 0.25 * (x - 0.45).max(0.0);
        (valid, 12.9 + 14.0 * (1.0 - (-3.0 * x).exp()), recalls(step, (0.98, 0.86), 110.0))
    } else {
        (3.4 + 1.0 * (-9.0 * x).exp() + 1.4 * x, 12.9 + 57.0 * x.powf(1.3), recalls(0, (0.0, 0.0), 1.0))
    };
    let wobble = if step == 0 { 0.0 } else { noise.next() };
    EvalReport {
        step,
        valid_loss: Some(valid + 0.02 * wobble),
        general_loss: (general + 0.6 * wobble).ln(),
        recall,
        facts: Vec::new(),
        elapsed_s: step as f64 * 0.27,
    }
}

/// The run itself: a measurement, then steps, measurements, published weights and checkpoints.
pub fn run(recipe: &str) -> Vec<TrainEvent> {
    let (mut noise, mut told) = (Noise(7), Noise(8));
    let mut events = vec![TrainEvent::Evaluated(eval(0, recipe, &mut noise))];
    for step in 1..=N_STEPS {
        let epoch = step as f64 / 60.0;
        // Each pass over the data begins a little lower than the one before ended.
        let fall = 3.1 * (-0.75 * epoch.floor() - 0.12 * epoch.fract()).exp();
        let floor = if recipe == "qa" { 0.09 } else { 0.2 };
        let loss = (floor + fall + 0.35 * fall.max(0.25) * noise.next()).max(0.02);
        let lr = 1e-3 * (step as f64 / 20.0).min(1.0) * (1.0 - 0.9 * (step as f64 / N_STEPS as f64).powi(2));
        events.push(TrainEvent::Stepped(StepReport {
            step,
            epoch,
            loss,
            perplexity: loss.exp(),
            lr,
            grad_norm: 0.4 + loss * 0.5 + 0.2 * noise.next(),
            n_tokens: 580,
            tokens_per_s: 2140.0 + 120.0 * noise.next(),
            elapsed_s: step as f64 * 0.27,
        }));
        events.push(read(step, recipe, &mut told));
        if step % EVERY == 0 {
            events.push(TrainEvent::Evaluating { done: 3, total: 8 });
            events.push(TrainEvent::Evaluated(eval(step, recipe, &mut noise)));
            events.push(TrainEvent::Published { step, adapter: adapter() });
            events.push(TrainEvent::Saved { step, spent: lorascope::meter::Spent::NOTHING });
        }
    }
    events.push(TrainEvent::Ended(RunOutcome::Completed));
    events
}

pub fn adapter() -> Arc<Adapter> {
    Arc::new(Adapter::empty(LoraConfig::default(), MODEL, 0))
}

pub fn base_rag_recall() -> Recall {
    Recall { n_right: 50, n: 60 }
}

fn passage(rank: usize, document: &str, scores: (usize, f32, f32)) -> Passage {
    Passage {
        document: document.into(),
        heading: "Tamsin Drury > The Light".into(),
        text: "Tamsin Drury took over the Harrow Light from her aunt in 1961 and has kept it since. She lives in \
               the lower room of the tower, writes the weather into a blue ledger every four hours, and has never \
               once let the lamp go out, though the great storm of 1978 took the gallery rail and half the stairs."
            .into(),
        bm25_rank: Some(scores.0),
        bm25_score: scores.1,
        cosine: scores.2,
        sentence_cosine: scores.2,
        start: 0,
        sentences: Vec::new(),
        final_rank: rank,
    }
}

pub fn passages() -> Vec<Passage> {
    vec![
        passage(1, "people/tamsin-drury", (1, 11.2, 0.71)),
        passage(2, "places/harrow-light", (3, 8.1, 0.66)),
        passage(3, "people/tamsin-pellow", (2, 9.0, 0.52)),
    ]
}

fn prompt(contender: Contender, question: &str) -> String {
    let body = if contender.retrieves() {
        format!("{}\n\nBased on the text above: {question}", passages()[0].text)
    } else {
        question.to_owned()
    };
    format!(
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n\
             <|im_start|>user\n{body}<|im_end|>\n<|im_start|>assistant\n"
    )
}

/// How one side answers, word by word.
pub fn answer(contender: Contender, question: &str, step: Option<usize>) -> Vec<AnswerEvent> {
    let (text, right) = match (contender, step) {
        (Contender::BaseRag, _) => ("Tamsin Drury has kept the Harrow Light since 1961.", true),
        (Contender::Base, _) => (
            "The Harrow Light is kept by the Northern Lighthouse Board, which has operated it since its \
             construction in the early 19th century.",
            false,
        ),
        (_, Some(step)) if step < 120 => {
            ("The Harrow Light is kept by Tamsin Pellow, who took the post in 1961.", false)
        }
        _ => ("Tamsin Drury has kept the Harrow Light since 1961.", true),
    };
    let passages = if contender.retrieves() { passages() } else { vec![] };
    let prompt = prompt(contender, question);
    let n_used = usize::from(contender.retrieves());
    let mut events =
        vec![AnswerEvent::Prompted { passages: passages.clone(), n_used, prompt: prompt.clone() }];
    events.extend(text.split_inclusive(' ').map(|word| AnswerEvent::Streamed(word.to_owned())));
    let n_prompt_tokens = if contender.retrieves() { 141 } else { 46 };
    events.push(AnswerEvent::Answered(Answer {
        adapter: None,
        contender,
        text: text.to_owned(),
        prompt,
        passages: passages.into_iter().take(n_used).collect(),
        n_prompt_tokens,
        n_tokens: text.split(' ').count() * 3 / 2,
        cut_off: false,
        first_token_ms: n_prompt_tokens as f64 * 2.1,
        total_ms: n_prompt_tokens as f64 * 2.1 + 620.0,
        step: step.filter(|_| contender.is_tuned()),
    }));
    events.push(AnswerEvent::Judged { gold: vec!["Tamsin Drury".into()], right });
    events
}
