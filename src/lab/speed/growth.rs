//! How does the cost of the work grow with its size?

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::retrieval::{self, sentences};
use super::scratch::Scratch;
use super::{Runs, Sample, TrainShape, decode, prefill, train};
use crate::cancel::Cancel;
use crate::corpus::{Chunking, Corpus, Document, Format};
use crate::error::Result;
use crate::model::LanguageModel;
use crate::rag::{Embed, Index, Indexing, Parted};

/// One kind of work, measured at several sizes.
#[derive(Debug, Clone, PartialEq)]
pub struct Growth {
    /// Its name in files.
    pub key: &'static str,
    /// The work, and what it is measured in.
    pub work: (&'static str, &'static str),
    /// What is made larger.
    pub along: &'static str,
    /// (size, values), the smallest size first.
    pub points: Vec<(usize, Sample)>,
}

/// Tokens of a step where it is cut into sequences of different length.
const STEP_TOKENS: usize = 512;
const LENGTHS: [usize; 5] = [32, 64, 128, 256, 512];
const BATCHES: [usize; 5] = [1, 2, 4, 8, 16];
const RANKS: [usize; 6] = [4, 8, 16, 32, 64, 128];
const CONTEXTS: [usize; 5] = [64, 256, 512, 1024, 2048];
const DOCUMENTS: [usize; 5] = [10, 100, 1000, 10_000, 100_000];

/// Training by the length of a sequence, by sequences of a step and by LoRA's rank, in tokens a second.
///
/// # Errors
/// As [`train`].
pub fn training(model: &LanguageModel, text: &[u32], runs: &mut Runs) -> Result<Vec<Growth>> {
    let usual = TrainShape { batch: 4, length: 128, rank: 16 };
    let of_length = |length| TrainShape { batch: STEP_TOKENS / length, length, ..usual };
    let mut of = |key, along, shapes: Vec<(usize, TrainShape)>| -> Result<Growth> {
        let points = measured(shapes, |shape| train(model, text, shape, runs))?;
        Ok(Growth { key, work: ("Training", "tokens/s"), along, points })
    };
    Ok(vec![
        of(
            "training-length",
            "tokens of a sequence, 512 in all",
            LENGTHS.map(|n| (n, of_length(n))).to_vec(),
        )?,
        of(
            "training-batch",
            "sequences of 128 tokens in a step",
            BATCHES.map(|n| (n, TrainShape { batch: n, ..usual })).to_vec(),
        )?,
        of(
            "training-rank",
            "rank, 4 x 128 tokens",
            RANKS.map(|n| (n, TrainShape { rank: n, ..usual })).to_vec(),
        )?,
    ])
}

/// Reading and writing by the length of the prompt, in tokens a second.
///
/// # Errors
/// As [`prefill`] and [`decode`].
pub fn answering(model: &LanguageModel, text: &[u32], runs: &mut Runs) -> Result<Vec<Growth>> {
    let longest = model.decoder.config().max_positions;
    let sizes: Vec<(usize, usize)> =
        CONTEXTS.iter().filter(|&&n| n + super::N_DECODED < longest).map(|&n| (n, n)).collect();
    let reading = measured(sizes.clone(), |n| prefill(model, text, n, runs))?;
    let writing = measured(sizes, |n| decode(model, text, n, runs))?;
    Ok(vec![
        Growth {
            key: "prefill",
            work: ("Reading a prompt", "tokens/s"),
            along: "tokens of the prompt",
            points: reading,
        },
        Growth {
            key: "decode",
            work: ("Writing after it", "tokens/s"),
            along: "tokens of the prompt",
            points: writing,
        },
    ])
}

/// Retrieval by the number of documents, in milliseconds: two sentences of `corpus` each, drawn anew for every document.
/// The question is embedded as ever; the vectors of passages are stand-ins, for a cosine takes as long with any. What
/// indexing takes without embeddings is measured by the way, once, in seconds. Folders are made under `place`, and
/// removed.
///
/// # Errors
/// When there is no question, the index cannot be written, or when cancelled.
pub fn retrieving(
    corpus: &Corpus,
    embedder: &Arc<dyn Embed>,
    place: &Path,
    runs: &mut Runs,
) -> Result<Vec<Growth>> {
    let questions = retrieval::questions(corpus);
    let cancel = runs.cancel;
    let width = embedder.embed(&["width"], cancel)?.first().map_or(0, Vec::len);
    let (mut bm25, mut total, mut indexing) = (Vec::new(), Vec::new(), Vec::new());
    for n in DOCUMENTS {
        let scratch = Scratch::new(place)?;
        let made = drawn(corpus, n);
        let with = Indexing {
            embedder: Arc::new(StandIn { of: Arc::clone(embedder), width }),
            chunking: Chunking::default(),
            cancel,
        };
        let begun = Instant::now();
        let (index, _) = Index::open(scratch.path(), &made, &with, &mut |_| {})?;
        indexing.push((n, Sample::of(vec![begun.elapsed().as_secs_f64()])));
        let times = retrieval::retrieve(&index, &questions, runs)?;
        bm25.push((n, times.bm25));
        total.push((n, times.total));
    }
    let along = "documents";
    Ok(vec![
        Growth { key: "retrieval", work: ("Retrieval, all of it", "ms"), along, points: total },
        Growth { key: "bm25", work: ("Of it BM25", "ms"), along, points: bm25 },
        Growth { key: "indexing", work: ("Indexing without embedding", "s"), along, points: indexing },
    ])
}

fn measured<T>(
    sizes: Vec<(usize, T)>,
    mut measure: impl FnMut(T) -> Result<Sample>,
) -> Result<Vec<(usize, Sample)>> {
    sizes.into_iter().map(|(size, of)| Ok((size, measure(of)?))).collect()
}

/// `n` documents of two sentences of the corpus each.
fn drawn(corpus: &Corpus, n: usize) -> Corpus {
    let all: Vec<&str> = corpus.documents.iter().flat_map(|document| sentences(&document.text)).collect();
    let mut rng = ChaCha8Rng::seed_from_u64(n as u64);
    let mut sentence = || all.get(rng.random_range(0..all.len().max(1))).copied().unwrap_or_default();
    let mut document = |i: usize| {
        let text = format!("{} {}", sentence(), sentence());
        Document::new(format!("{i:08}"), format!("{i:08}.txt"), Format::Text, text)
    };
    Corpus {
        root: format!("drawn-{n}").into(),
        name: format!("{n} drawn documents"),
        description: String::new(),
        documents: (0..n).map(&mut document).collect(),
        facts: Vec::new(),
        digest: format!("drawn-{n}"),
        remarks: Vec::new(),
    }
}

/// Embeds questions as another does; passages get vectors that mean nothing.
struct StandIn {
    of: Arc<dyn Embed>,
    /// Of a vector.
    width: usize,
}

impl Embed for StandIn {
    fn embed(&self, texts: &[&str], cancel: &Cancel) -> Result<Vec<Vec<f32>>> {
        self.of.embed(texts, cancel)
    }

    fn embed_parts(&self, texts: &[Parted<'_>], _: &Cancel) -> Result<Vec<Vec<Vec<f32>>>> {
        let vector = |seed: usize| {
            let mut rng = ChaCha8Rng::seed_from_u64(seed as u64);
            (0..self.width).map(|_| rng.random::<f32>() - 0.5).collect()
        };
        let of = |(text, parts): &Parted<'_>| (0..=parts.len()).map(|i| vector(text.len() + i)).collect();
        Ok(texts.iter().map(of).collect())
    }

    fn count_tokens(&self, text: &str) -> usize {
        self.of.count_tokens(text)
    }

    fn name(&self) -> &'static str {
        "stand-in"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_drawn_alike_each_time_and_can_be_found_by_their_ids() {
        let corpus = Corpus::open(Path::new("sample_corpus")).unwrap();
        let made = drawn(&corpus, 300);
        assert_eq!(made, drawn(&corpus, 300));
        assert_eq!(made.documents.len(), 300);
        assert!(made.documents.iter().all(|document| made.document(&document.id) == Some(document)));
        let texts: std::collections::BTreeSet<&str> =
            made.documents.iter().map(|d| d.text.as_str()).collect();
        assert!(texts.len() > 290, "most differ");
    }
}
