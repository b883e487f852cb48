//! `lorascope ask`: what does each contender answer?

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::open::{AdapterFlags, AdapterPlace};
use super::{Common, cancel_on_signals, open, say, say_json, usage};
use crate::cancel::Cancel;
use crate::corpus::{Chunking, Corpus, contains_gold};
use crate::error::{Error, Result};
use crate::hub::Store;
use crate::lab::{Answer, AnswerEvent, Contender, Desk, Tuned, answer, gold_of};
use crate::model::generate::Sampling;
use crate::model::{Adapter, LanguageModel};
use crate::rag::{Index, PromptForm, Rerank};
use crate::train::Recipe;

/// `lorascope ask`
#[derive(Debug, Args)]
pub struct AskArgs {
    /// The question.
    #[arg(value_parser = open::words)]
    pub question: String,
    /// Who answers: base, base+rag, tuned, tuned+rag, several with commas, or all. Without it, base+rag,
    /// and tuned where there is an adapter.
    #[arg(long, value_delimiter = ',', value_name = "WHO")]
    pub contender: Vec<String>,
    /// The fine-tuned weights.
    #[command(flatten)]
    pub adapter: AdapterFlags,
    /// Passages put before the model; what suits it if not given.
    #[arg(long, value_name = "N", value_parser = open::at_least_one)]
    pub top: Option<usize>,
    /// How passages are put in order: fused, cosine or off.
    #[arg(long, default_value = "fused")]
    pub rerank: Rerank,
    /// How the model writes.
    #[command(flatten)]
    pub sampling: SamplingFlags,
    /// Print the exact prompts too.
    #[arg(long)]
    pub prompts: bool,
}

impl AskArgs {
    /// One question to base + RAG and to the fine-tuned model.
    pub(super) fn both(question: &str, adapter: AdapterFlags) -> Self {
        let Sampling { temperature, top_p, top_k, seed, max_tokens } = Sampling::default();
        Self {
            question: question.to_owned(),
            contender: vec![Contender::BaseRag.name().to_owned(), Contender::Tuned.name().to_owned()],
            adapter,
            top: None,
            rerank: Rerank::default(),
            sampling: SamplingFlags { temperature, top_p, top_k, seed, max_tokens },
            prompts: false,
        }
    }
}

/// How the model writes.
#[derive(Debug, Clone, Args)]
pub struct SamplingFlags {
    /// 0 takes the most probable token always.
    #[arg(long, default_value_t = 0.0, value_name = "X")]
    pub temperature: f64,
    /// Draw from the most probable tokens that together have this probability.
    #[arg(long, default_value_t = 1.0, value_name = "X")]
    pub top_p: f64,
    /// Draw from this many of the most probable tokens; 0 is all.
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub top_k: usize,
    /// Seed of the draws.
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub seed: u64,
    /// Tokens of an answer at most.
    #[arg(long, default_value_t = 64, value_name = "N", value_parser = open::at_least_one)]
    pub max_tokens: usize,
}

impl SamplingFlags {
    fn sampling(&self) -> Result<Sampling> {
        let Self { temperature, top_p, top_k, seed, max_tokens } = *self;
        if !(temperature >= 0.0 && temperature.is_finite() && top_p > 0.0 && top_p <= 1.0) {
            let what = format!("temperature {temperature} and top-p {top_p} cannot be used");
            return Err(Error::refused(what, "take a temperature of 0 or more, and top-p in (0, 1]"));
        }
        Ok(Sampling { temperature, top_p, top_k, seed, max_tokens })
    }
}

/// Runs it.
pub fn run(args: &AskArgs, common: &Common) -> anyhow::Result<ExitCode> {
    let cancel = cancel_on_signals()?;
    let sampling = usage(args.sampling.sampling())?;
    let opened = Opened::new(&args.contender, &args.adapter, common, &cancel)?;
    let form = opened.form(args.top);
    let desk = Desk { form, rerank: args.rerank, sampling, ..opened.desk() };
    let mut failed = Vec::new();
    let streams = opened.contenders.len() == 1 && !common.json;
    let mut told = Ok(());
    let mut note = |contender: Contender, event: AnswerEvent| match event {
        AnswerEvent::Failed(cause) => failed.push(format!("{}: {cause}", contender.name())),
        AnswerEvent::Streamed(text) if streams && told.is_ok() => told = super::say_on(&text),
        _ => {}
    };
    let answers = answer(
        &desk,
        (&args.question, &opened.contenders),
        opened.tuned(args.adapter.scale),
        &cancel,
        &mut note,
    )?;
    told?;
    if common.json {
        say_json(&json!({"question": args.question, "answers": answers}))?;
    } else {
        let gold = gold_of(&opened.corpus, &args.question);
        for answer in &answers {
            tell(answer, gold.as_deref(), (streams, args.prompts))?;
        }
    }
    if let Some(cause) = failed.first() {
        anyhow::bail!("{cause}");
    }
    Ok(ExitCode::SUCCESS)
}

fn tell(answer: &Answer, gold: Option<&[String]>, (streamed, prompts): (bool, bool)) -> anyhow::Result<()> {
    if streamed {
        say("")?;
    }
    let at = answer.step.map_or(String::new(), |step| format!(" @ step {step}"));
    let verdict = match gold {
        Some(gold) if contains_gold(&answer.text, gold) => "  ✓ contains the answer".to_owned(),
        Some(gold) => format!("  ✗ expected {}", gold.join(" or ")),
        None => String::new(),
    };
    say(format!(
        "── {}{at} ── {:.2} s, first token {:.2} s, {} + {} tokens{verdict}",
        answer.contender.name(),
        answer.total_ms / 1e3,
        answer.first_token_ms / 1e3,
        answer.n_prompt_tokens,
        answer.n_tokens
    ))?;
    if !streamed {
        say(&answer.text)?;
    }
    for passage in &answer.passages {
        say(format!("   from {} ({})", passage.document, passage.heading))?;
    }
    if prompts {
        say(format!("   the model read:\n{}", answer.prompt))?;
    }
    say("")
}

/// Everything that answering needs, opened.
pub(super) struct Opened {
    pub(super) contenders: Vec<Contender>,
    pub(super) model: LanguageModel,
    /// The name to find the model by later.
    pub(super) model_name: String,
    pub(super) corpus: Corpus,
    pub(super) place: Option<AdapterPlace>,
    index: Option<Index>,
    form: PromptForm,
    adapter: Option<Adapter>,
    digest: Option<String>,
}

impl Opened {
    /// Opens model, corpus, index and adapter, as far as `contenders` need them.
    pub(super) fn new(
        contenders: &[String],
        flags: &AdapterFlags,
        common: &Common,
        cancel: &Cancel,
    ) -> anyhow::Result<Self> {
        let (paths, mut settings) = common.settings()?;
        let named = usage(named(contenders))?;
        let explicit = flags.run.is_some() || flags.adapter.is_some();
        let needs_adapter = named.as_ref().is_none_or(|all| all.iter().any(|c| c.is_tuned()));
        let place = if needs_adapter || explicit { flags.place(&paths)? } else { None };
        let contenders = named.unwrap_or_else(|| match place {
            Some(_) => vec![Contender::BaseRag, Contender::Tuned],
            None => vec![Contender::BaseRag],
        });
        if place.is_none() && contenders.iter().any(|c| c.is_tuned()) {
            let remedy = "train first (lorascope train), or name an adapter with --run or --adapter";
            return Err(Error::refused("there is no fine-tuned adapter yet", remedy).into());
        }
        // A run's own model and corpus, unless others are named.
        if let Some((_, record)) = place.as_ref().and_then(|place| place.run.as_ref()) {
            settings.model = common.model.clone().or_else(|| Some(record.model.clone()));
            settings.corpus = common.corpus.clone().or_else(|| Some(record.corpus.clone()));
        }
        let corpus = open::corpus(&paths, &settings)?;
        let store = Store::open(&paths, &settings.hub)?;
        let (model, files) = open::model(&paths, &settings, cancel)?;
        let retrieves = contenders.iter().any(|c| c.retrieves());
        let index = if retrieves {
            Some(open::index((&paths, Chunking::of(settings.chunk_tokens)), &store, &corpus, cancel)?)
        } else {
            None
        };
        let load = |place: &AdapterPlace| Adapter::load(&place.folder, model.decoder.config());
        let adapter = place.as_ref().map(load).transpose()?;
        let digest = adapter.as_ref().map(Adapter::digest).transpose()?;
        let model_name = files.lasting_name();
        let form = files.rag.map_or_else(PromptForm::default, PromptForm::from);
        Ok(Self { contenders, model, model_name, corpus, place, index, form, adapter, digest })
    }

    /// The form that suits the model, with another number of passages where one is wished.
    pub(super) fn form(&self, top: Option<usize>) -> PromptForm {
        PromptForm { max_passages: top.unwrap_or(self.form.max_passages), ..self.form }
    }

    /// What answers are made with: greedy, fused order, the form that suits the model.
    pub(super) fn desk(&self) -> Desk<'_> {
        Desk {
            model: &self.model,
            index: self.index.as_ref(),
            form: self.form,
            rerank: Rerank::default(),
            sampling: Sampling::default(),
        }
    }

    /// The fine-tuned weights, if there are any.
    pub(super) fn tuned(&self, scale: f64) -> Option<Tuned<'_>> {
        let step = self.place.as_ref().and_then(|place| place.step);
        let digest = self.digest.as_deref();
        self.adapter.as_ref().map(|adapter| Tuned { adapter, step, scale, digest })
    }

    /// What the run behind the adapter was trained on, if it is one.
    pub(super) fn recipe(&self) -> Option<Recipe> {
        let (_, record) = self.place.as_ref()?.run.as_ref()?;
        Some(record.train.recipe)
    }

    /// How many trained wordings of each fact the run behind the adapter has learnt; all where it is none.
    pub(super) fn n_trained(&self) -> usize {
        let run = self.place.as_ref().and_then(|place| place.run.as_ref());
        run.map_or(usize::MAX, |(_, record)| record.train.n_wordings())
    }

    /// Where questions are looked up, if any contender does.
    pub(super) fn index(&self) -> Option<&Index> {
        self.index.as_ref()
    }

    /// The adapter, if there is one.
    pub(super) fn adapter(&self) -> Option<&Adapter> {
        self.adapter.as_ref()
    }
}

/// A list without what stands in it before.
pub(super) fn once_each<T: PartialEq + Copy>(all: &[T]) -> Vec<T> {
    let is_first = |i: &usize| !all[..*i].contains(&all[*i]);
    (0..all.len()).filter(is_first).map(|i| all[i]).collect()
}

/// The contenders that are named; `None` where none is, for whoever can answer.
fn named(names: &[String]) -> Result<Option<Vec<Contender>>> {
    let single = names.iter().filter(|name| *name != "all");
    let all = single.clone().map(|name| name.parse()).collect::<Result<Vec<Contender>>>()?;
    if single.count() < names.len() {
        return Ok(Some(Contender::ALL.to_vec()));
    }
    Ok((!all.is_empty()).then(|| once_each(&all)))
}
