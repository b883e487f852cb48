//! What is measured, with which model and texts?

use std::sync::Arc;

use super::figures::{Report, Row, Told, Training};
use super::{BenchArgs, Work, screen};
use crate::cancel::Cancel;
use crate::cli::open;
use crate::cli::progress::Progress;
use crate::config::Settings;
use crate::corpus::{Chunking, Corpus};
use crate::error::Result;
use crate::hub::{self, Store};
use crate::kernels;
use crate::lab::speed::{self, Growth, N_DECODED, N_PROMPT, N_TEXTS, N_UPDATES, Runs, Sample};
use crate::model::LanguageModel;
use crate::paths::Paths;
use crate::rag::{Embed, Embedder, Index, IndexProgress, Indexing};

/// Measures what `args` name, and the machine.
pub(super) fn all(
    args: &BenchArgs,
    (paths, settings): (&Paths, &Settings),
    cancel: &Cancel,
) -> anyhow::Result<Report> {
    let mut bench =
        Bench { args, paths, settings, cancel, rows: Vec::new(), training: None, growth: Vec::new() };
    let needed = |parts: &[Work]| parts.iter().any(|part| args.work.includes(*part));
    let (mut model, mut embedder) = (None, None);
    if needed(&[Work::Train, Work::Prefill, Work::Decode, Work::Board, Work::Growth]) {
        model = Some(bench.decoder()?);
    }
    if needed(&[Work::Embed, Work::Retrieve, Work::Growth]) {
        embedder = Some(bench.embedder()?);
    }
    if args.work.includes(Work::Ui) {
        bench.screen()?;
    }
    // Looked at before the machine's own trial, which takes memory for itself.
    let peak_rss_bytes = speed::peak_rss_bytes();
    let peak = bench.time("the machine", speed::machine)?;
    Ok(Report {
        model,
        embedder,
        kernels: kernels::level().name(),
        threads: rayon::current_num_threads(),
        runs: usize::from(args.runs),
        rows: bench.rows,
        training: bench.training,
        growth: bench.growth,
        peak_rss_bytes,
        peak,
    })
}

/// What is being done, and what has come out so far.
struct Bench<'a> {
    args: &'a BenchArgs,
    paths: &'a Paths,
    settings: &'a Settings,
    cancel: &'a Cancel,
    rows: Vec<Row>,
    training: Option<Training>,
    growth: Vec<Growth>,
}

impl Bench<'_> {
    /// Lets `work` run as often as asked for; its progress goes to standard error.
    fn time<T>(&self, name: &str, work: impl FnOnce(&mut Runs) -> Result<T>) -> anyhow::Result<T> {
        let mut progress = Progress::new();
        let n = usize::from(self.args.runs);
        progress.update(&format!("{name}: warming up"));
        let mut watch = |done| progress.update(&format!("{name}: {done} of {n}"));
        Ok(work(&mut Runs { n, cancel: self.cancel, watch: &mut watch })?)
    }

    fn note(
        &mut self,
        (name, unit): (&'static str, &'static str),
        told: Told,
        (sample, note): (Sample, String),
    ) {
        self.rows.push(Row { name, unit, sample, told, note });
    }

    /// Learning, reading and writing. Returns the model's name.
    fn decoder(&mut self) -> anyhow::Result<String> {
        let corpus = open::corpus(self.paths, self.settings)?;
        let (model, _) = open::model(self.paths, self.settings, self.cancel)?;
        let text = tokens(&model, &corpus)?;
        let work = self.args.work;
        if work.includes(Work::Train) {
            self.train(&model, &text)?;
        }
        if work.includes(Work::Prefill) {
            let sample = self.time("prefill", |runs| speed::prefill(&model, &text, N_PROMPT, runs))?;
            let told = Told::Median("prefill_tokens_per_s");
            self.note(("prefill", "tokens/s"), told, (sample, format!("{N_PROMPT} tokens")));
        }
        if work.includes(Work::Decode) {
            let sample = self.time("decode", |runs| speed::decode(&model, &text, N_PROMPT, runs))?;
            let note = format!("{N_DECODED} tokens after {N_PROMPT}");
            self.note(("decode", "tokens/s"), Told::Median("decode_tokens_per_s"), (sample, note));
        }
        if work.includes(Work::Board) {
            self.board(&model, &corpus)?;
        }
        if work.includes(Work::Growth) {
            self.growth.extend(self.time("training", |runs| speed::training(&model, &text, runs))?);
            self.growth.extend(self.time("answering", |runs| speed::answering(&model, &text, runs))?);
        }
        Ok(model.name)
    }

    fn board(&mut self, model: &LanguageModel, corpus: &Corpus) -> anyhow::Result<()> {
        let place = std::env::temp_dir();
        let cost = self.time("board", |runs| speed::board(model, corpus, &place, runs))?;
        let (with, without) = (cost.with_s.median(), cost.without_s.median());
        let note = format!("{N_UPDATES} updates of `qa`, {with:.3} s each with it, {without:.3} s without");
        self.note(("board", "%"), Told::Median("board_cost_percent"), (cost.percent, note));
        Ok(())
    }

    fn train(&mut self, model: &LanguageModel, text: &[u32]) -> anyhow::Result<()> {
        let shape = self.args.shape();
        let sample = self.time("train", |runs| speed::train(model, text, shape, runs))?;
        let flop_per_token = speed::flop_per_token(model.decoder.config());
        self.training = Some(Training { flop_per_token, tokens_per_s: sample.median() });
        let note = format!("{} x {} tokens, rank {}", shape.batch, shape.length, shape.rank);
        self.note(("train", "tokens/s"), Told::Median("train_tokens_per_s"), (sample, note));
        Ok(())
    }

    /// Embedding and retrieving. Returns the embedder's name.
    fn embedder(&mut self) -> anyhow::Result<String> {
        let corpus = open::corpus(self.paths, self.settings)?;
        let (embedder, name) = self.open_embedder()?;
        if self.args.work.includes(Work::Embed) {
            let texts = speed::texts(&corpus, &embedder);
            let sample = self.time("embed", |runs| speed::embed(&embedder, &texts, runs))?;
            let n_tokens: usize = texts.iter().map(|text| embedder.count_tokens(text)).sum();
            let mean = n_tokens as f64 / texts.len().max(1) as f64;
            let note = format!("{N_TEXTS} texts of {mean:.0} tokens");
            self.note(("embed", "tokens/s"), Told::Median("embed_tokens_per_s"), (sample, note));
        }
        if self.args.work.includes(Work::Growth) {
            let (embedder, place): (Arc<dyn Embed>, _) = (Arc::new(embedder), std::env::temp_dir());
            let retrieving = |runs: &mut Runs| speed::retrieving(&corpus, &embedder, &place, runs);
            self.growth.extend(self.time("retrieving", retrieving)?);
        } else if self.args.work.includes(Work::Retrieve) {
            self.retrieve(&corpus, embedder)?;
        }
        Ok(name)
    }

    fn open_embedder(&self) -> anyhow::Result<(Embedder, String)> {
        let store = Store::open(self.paths, &self.settings.hub)?;
        let mut progress = Progress::new();
        let spec = &store.manifest().default_embedder;
        let files = hub::resolve(&store, spec, self.cancel, &mut |event| progress.fetch(&event))?;
        Ok((Embedder::load(&files.path, &files.name)?, files.name))
    }

    fn retrieve(&mut self, corpus: &Corpus, embedder: Embedder) -> anyhow::Result<()> {
        let index = self.open_index(corpus, embedder)?;
        let questions = speed::questions(corpus);
        let times = self.time("retrieve", |runs| speed::retrieve(&index, &questions, runs))?;
        let note = format!("{} questions, {} passages", times.total.n(), index.n_chunks());
        let stages = [
            ("retrieve bm25", "bm25", times.bm25, String::new()),
            ("retrieve embed", "embed", times.embed, String::new()),
            ("retrieve rerank", "rerank", times.rerank, String::new()),
            ("retrieve total", "total", times.total, note),
        ];
        for (name, stage, sample, note) in stages {
            self.note((name, "ms"), Told::Stage("retrieve_ms", stage), (sample, note));
        }
        Ok(())
    }

    fn open_index(&self, corpus: &Corpus, embedder: Embedder) -> Result<Index> {
        let mut progress = Progress::new();
        let indexing =
            Indexing { embedder: Arc::new(embedder), chunking: Chunking::default(), cancel: self.cancel };
        let folder = Index::folder(&self.paths.indexes(), corpus, &indexing);
        let watch = &mut |event: IndexProgress| match event {
            IndexProgress::Embedding { done, total } => {
                progress.update(&format!("index: {done} of {total} chunks"));
            }
            IndexProgress::Waiting => progress.update("index: another process is at it"),
            IndexProgress::Chunking { .. } | IndexProgress::Writing => {}
        };
        let (index, _) = Index::open(&folder, corpus, &indexing, watch)?;
        Ok(index)
    }

    /// Drawing the lab and taking in what happens.
    fn screen(&mut self) -> anyhow::Result<()> {
        let frames = self.time("frames", screen::frames)?;
        let note = format!("200 x 60, p99 {:.2}, {} frames", frames.quantile(0.99), frames.n());
        self.note(("ui frame", "ms"), Told::Tail("ui_frame_ms"), (frames, note));
        let events = self.time("events", screen::updates)?;
        let note = format!("{} events", screen::N_EVENTS);
        self.note(("ui events", "ms"), Told::Median("ui_10000_events_ms"), (events, note));
        Ok(())
    }
}

/// The corpus as the model reads it, document after document.
fn tokens(model: &LanguageModel, corpus: &Corpus) -> Result<Vec<u32>> {
    let encoded = corpus.documents.iter().map(|document| model.tokenizer.encode_plain(&document.text));
    Ok(encoded.collect::<Result<Vec<_>>>()?.concat())
}
