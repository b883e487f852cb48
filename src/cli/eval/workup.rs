//! What is measured beside the answers: may they be believed, what was found, what did it cost?

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Asked;
use crate::cancel::Cancel;
use crate::cli::Common;
use crate::cli::ask::Opened;
use crate::cli::open::index_line;
use crate::cli::progress::Progress;
use crate::config::Settings;
use crate::corpus::Chunking;
use crate::lab::claims::Evidence;
use crate::lab::scoreboard::Item;
use crate::lab::{
    Answering, Contender, Cost, Desk, IndexingCost, PRICE_PER_HOUR, Retrieved, Tuned, check_adapter,
    check_unseen, indexing_cost, retrieved,
};
use crate::paths::Paths;
use crate::rag::Indexing;
use crate::train::data::examples;

/// Looks, before anybody is asked, whether the contenders are what their names say; what was checked, in words. A check
/// that fails is an error.
pub(super) fn checks(
    opened: &Opened,
    (asked, tuned): (&Asked, Option<Tuned>),
) -> anyhow::Result<Vec<String>> {
    let mut told = Vec::new();
    if let Some(tuned) = tuned {
        let items = asked.wordings.iter().flat_map(|&wording| asked.items(&opened.corpus, wording));
        let questions: Vec<&str> = items.map(|item| item.question.text.as_str()).collect();
        told.extend(check_adapter(&opened.model, tuned, &questions)?);
    }
    if let Some((_, record)) = opened.place.as_ref().and_then(|place| place.run.as_ref()) {
        told.push(check_unseen(&opened.corpus, &examples(&opened.corpus, &record.train)?)?);
        if record.corpus_digest != opened.corpus.digest {
            told.push("the corpus is not the one of the run, or has changed since".to_owned());
        }
    }
    Ok(told)
}

/// Looks the questions up in each way; nothing where nobody retrieves.
pub(super) fn retrieval(
    opened: &Opened,
    (desk, asked): (&Desk, Asked),
    cancel: &Cancel,
) -> anyhow::Result<Option<Retrieved>> {
    let Some(index) = opened.index() else { return Ok(None) };
    let all: Vec<Item> =
        asked.wordings.iter().flat_map(|&wording| asked.items(&opened.corpus, wording)).collect();
    let mut progress = Progress::new();
    let mut watch = |done: usize| progress.update(&format!("looking up: {done} of {}", all.len()));
    Ok(Some(retrieved(index, (&all, desk.form.max_passages), cancel, &mut watch)?))
}

/// What training took, and what its rival takes.
pub(super) fn cost(
    opened: &Opened,
    (price, answers): (Option<f64>, BTreeMap<Contender, Answering>),
    common: &Common,
    cancel: &Cancel,
) -> anyhow::Result<Cost> {
    let (paths, settings) = common.settings()?;
    let run = opened.place.as_ref().and_then(|place| place.run.as_ref());
    let training = run.map(|(path, _)| Evidence::read(path)).transpose()?.and_then(|known| known.training);
    Ok(Cost {
        price_per_hour: price.or(settings.price_per_hour).unwrap_or(PRICE_PER_HOUR),
        training,
        indexing: indexing(opened, (&paths, &settings), cancel)?,
        answers,
    })
}

fn indexing(
    opened: &Opened,
    (paths, settings): (&Paths, &Settings),
    cancel: &Cancel,
) -> anyhow::Result<Option<IndexingCost>> {
    let Some(index) = opened.index() else { return Ok(None) };
    let indexing = Indexing {
        embedder: Arc::clone(index.embedder()),
        chunking: Chunking::of(settings.chunk_tokens),
        cancel,
    };
    let scratch = paths.indexes().join(format!("measured-{}", std::process::id()));
    let mut progress = Progress::new();
    let mut watch = |event| progress.update(&format!("measured anew: {}", index_line(event)));
    Ok(Some(indexing_cost(&scratch, &opened.corpus, &indexing, &mut watch)?))
}
