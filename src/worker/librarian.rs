//! What must be there before the lab can work, and in which order is it got?

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::thread;

use super::crew::{Indexed, Shared, Stock, locked};
use super::{FetchEvent, IndexEvent, WorkerEvent};
use crate::cancel::Cancel;
use crate::corpus::{Corpus, Question, Wording};
use crate::error::{Error, Result};
use crate::hub;
use crate::lab::claims::{Evidence, judged};
use crate::model::LanguageModel;
use crate::rag::{Embed, Embedder, Index, IndexProgress, Indexing, PromptForm};
use crate::train::data::spread;

/// Questions offered to whoever does not know what to ask.
const N_SUGGESTIONS: usize = 5;
/// Characters of a suggested question at most.
const SHORT: usize = 72;

/// What the librarian is asked for.
#[derive(Debug, Clone, Copy)]
pub(super) enum LibrarianOrder {
    Prepare,
    JudgeClaims,
}

pub(super) fn carry_out(shared: &Shared, order: LibrarianOrder) {
    match order {
        LibrarianOrder::Prepare => prepare(shared),
        LibrarianOrder::JudgeClaims => {
            let runs = Evidence::of_runs(&shared.site.paths.runs());
            let judged = runs.map(|runs| judged(&runs)).map_err(|error| error.to_string());
            shared.report(WorkerEvent::ClaimsJudged(judged));
        }
    }
}

/// Gets everything ready, or says why it cannot.
fn prepare(shared: &Shared) {
    if let Err(error) = ready(shared) {
        let event = match error {
            Error::Cancelled if shared.leaving.load(Ordering::Relaxed) => return,
            error => IndexEvent::Failed(error.to_string()),
        };
        shared.report(WorkerEvent::Index(event));
    }
}

/// A document's name as words: `people/tamsin-drury` is tamsin drury.
fn words_of(id: &str) -> String {
    id.rsplit('/').next().unwrap_or(id).replace(['-', '_'], " ")
}

fn ready(shared: &Shared) -> Result<()> {
    let tell = |event| shared.report(WorkerEvent::Index(event));
    let site = &shared.site;
    // What needs no network comes first: a wrong line is told before a long download.
    let stamp = Corpus::stamp(&site.corpus);
    let corpus = Corpus::open(&site.corpus)?;
    let mut note = |event: FetchEvent| tell(IndexEvent::Fetch(event));
    let manifest = site.store.manifest();
    let files = hub::resolve(&site.store, &site.model, &shared.fetching, &mut note)?;
    let embedder_files = hub::resolve(&site.store, &manifest.default_embedder, &shared.fetching, &mut note)?;
    tell(IndexEvent::Loading(files.name.clone()));
    let (model, embedder) = thread::scope(|scope| {
        let embedder = scope.spawn(|| Embedder::load(&embedder_files.path, &embedder_files.name));
        let model = LanguageModel::load(&files.path, &files.name);
        let died = || Error::refused("the embedder could not be read", "see the log");
        (model, embedder.join().unwrap_or_else(|_| Err(died())))
    });
    let (model, embedder) = (model?, embedder?);
    tell(IndexEvent::ModelReady { name: model.name.clone(), n_parameters: model.decoder.n_parameters() });
    let index = indexed(shared, &corpus, (Arc::new(embedder), &shared.fetching))?;
    let event = ready_with(&corpus, &index);
    let indexed = Indexed { corpus: Arc::new(corpus), index: Arc::new(index), stamp };
    let form = files.rag.map_or_else(PromptForm::default, PromptForm::from);
    let stock = Stock { model_name: files.lasting_name(), model, indexed: Mutex::new(indexed), form };
    let _ = shared.stock.set(stock);
    tell(event);
    Ok(())
}

/// The documents and their index as they were last read.
pub(super) fn kept(shared: &Shared) -> Result<Indexed> {
    Ok(locked(&shared.stock()?.indexed).clone())
}

/// The documents and their index as they are now: read anew where one was changed. While they cannot be read, what is kept
/// stands, and the reason is reported.
pub(super) fn current(shared: &Shared, cancel: &Cancel) -> Result<Indexed> {
    let mut kept = locked(&shared.stock()?.indexed);
    let stamp = Corpus::stamp(&shared.site.corpus);
    if stamp == kept.stamp {
        shared.report(WorkerEvent::Index(IndexEvent::Current));
    } else {
        match read_anew(shared, (&kept, stamp), cancel) {
            Ok(indexed) => {
                shared.report(WorkerEvent::Index(ready_with(&indexed.corpus, &indexed.index)));
                *kept = indexed;
            }
            Err(Error::Cancelled) => {
                shared.report(WorkerEvent::Index(IndexEvent::Kept(None)));
                return Err(Error::Cancelled);
            }
            Err(error) => {
                tracing::warn!(%error, "the documents were changed, but cannot be read");
                shared.report(WorkerEvent::Index(IndexEvent::Kept(Some(error.to_string()))));
            }
        }
    }
    Ok(kept.clone())
}

fn read_anew(shared: &Shared, (kept, stamp): (&Indexed, u64), cancel: &Cancel) -> Result<Indexed> {
    let corpus = Corpus::open(&shared.site.corpus)?;
    let index = indexed(shared, &corpus, (Arc::clone(kept.index.embedder()), cancel))?;
    Ok(Indexed { corpus: Arc::new(corpus), index: Arc::new(index), stamp })
}

fn ready_with(corpus: &Corpus, index: &Index) -> IndexEvent {
    IndexEvent::Ready {
        corpus: corpus.name.clone(),
        n_documents: corpus.documents.len(),
        n_chunks: index.n_chunks(),
        n_facts: corpus.facts.len(),
        suggestions: suggestions(corpus),
    }
}

fn indexed(shared: &Shared, corpus: &Corpus, (embedder, cancel): (Arc<dyn Embed>, &Cancel)) -> Result<Index> {
    let indexing = Indexing { embedder, chunking: shared.site.chunking, cancel };
    let folder = Index::folder(&shared.site.paths.indexes(), corpus, &indexing);
    let mut watch = |progress: IndexProgress| {
        if let IndexProgress::Embedding { done, total } = progress {
            shared.report(WorkerEvent::Index(IndexEvent::Indexing { done, total }));
        }
    };
    let (index, summary) = Index::open(&folder, corpus, &indexing, &mut watch)?;
    for remark in &summary.remarks {
        tracing::info!(%remark, "the index");
    }
    Ok(index)
}

/// Questions worth asking first: short ones that training never sees, from all over the corpus, and
/// one that needs two documents. Without facts, the documents' own names.
fn suggestions(corpus: &Corpus) -> Vec<String> {
    let of = |wording: Wording| -> Vec<&Question> {
        let all = corpus.facts.iter().flat_map(|fact| &fact.questions);
        all.filter(|question| question.wording == wording && question.text.chars().count() <= SHORT).collect()
    };
    let two_hop = of(Wording::TwoHop);
    let unseen = of(Wording::Unseen);
    let n = N_SUGGESTIONS - two_hop.len().min(1);
    let mut texts: Vec<String> =
        spread(&unseen, n).chain(two_hop.first()).map(|question| question.text.clone()).collect();
    if texts.is_empty() {
        let about =
            |document: &crate::corpus::Document| format!("What is said about {}?", words_of(&document.id));
        texts.extend(spread(&corpus.documents, N_SUGGESTIONS).map(about));
    }
    texts
}
