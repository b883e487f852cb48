//! Which texts mean nearly the same?
//!
//! An [`Encoder`] turns texts into vectors of length 1 whose dot product says so: a BERT such as
//! all-MiniLM-L6-v2, mean pooling over the tokens, then L2 (<https://arxiv.org/abs/1908.10084>).

mod bert;

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;

use candle_core::{DType, Device};
use candle_nn::VarBuilder;
use candle_transformers::models::bert::Config;
use rayon::prelude::*;
use serde::Deserialize;
use tokenizers::{Encoding, PostProcessor, TruncationDirection};

use bert::Bert;

use crate::cancel::Cancel;
use crate::error::{Error, Result};
use crate::model::config::read_json;
use crate::model::stored::RowOrder;
use crate::model::weights::tensors_of_file;

/// What the model was trained on; longer texts are cut here.
const MAX_TOKENS: usize = 256;
/// Tokens of one batch: enough to keep the products busy, few enough for the cache.
const BATCH_TOKENS: usize = 2048;
const REMEDY: &str = "get the embedder again (`lorascope models fetch all-minilm-l6-v2`)";

/// A text, and the bytes of parts of it.
pub type Parted<'a> = (&'a str, &'a [Range<usize>]);

/// A sentence embedder.
pub struct Encoder {
    model: Bert,
    tokenizer: tokenizers::Tokenizer,
    /// Tokens of a text that are read, marks at its ends included.
    longest: usize,
    n_dimensions: usize,
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Encoder").field("n_dimensions", &self.n_dimensions).finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct Sentences {
    max_seq_length: Option<usize>,
}

impl Encoder {
    /// Reads `config.json`, `tokenizer.json` and `model.safetensors` of `folder`.
    ///
    /// # Errors
    /// When a file is missing, broken or of another kind of model.
    pub fn load(folder: &Path) -> Result<Self> {
        let config: Config = read_json(&folder.join("config.json"))?;
        if config.model_type.as_deref() != Some("bert") {
            let what =
                format!("the embedder is of the kind `{}`", config.model_type.as_deref().unwrap_or("?"));
            return Err(Error::file(folder, what, "use a BERT such as all-MiniLM-L6-v2"));
        }
        let limits = folder.join("sentence_bert_config.json");
        let longest = if limits.is_file() { read_json::<Sentences>(&limits)?.max_seq_length } else { None };
        let longest = longest.unwrap_or(MAX_TOKENS).min(config.max_position_embeddings).max(2);
        let path = folder.join("model.safetensors");
        let model = Bert::load(tensors(&path)?, &config)
            .map_err(|e| Error::file(&path, format!("the weights do not fit config.json: {e}"), REMEDY))?;
        Ok(Self { model, tokenizer: tokenizer(folder)?, longest, n_dimensions: config.hidden_size })
    }

    /// The length of a vector.
    pub fn n_dimensions(&self) -> usize {
        self.n_dimensions
    }

    /// One vector for each text, in the order of the texts; each of length 1. Texts longer than 256
    /// tokens count up to there.
    ///
    /// # Errors
    /// When cancelled, or when a text cannot be tokenized.
    pub fn encode(&self, texts: &[&str], cancel: &Cancel) -> Result<Vec<Vec<f32>>> {
        let whole: Vec<Parted<'_>> = texts.iter().map(|text| (*text, &[][..])).collect();
        Ok(self.encode_parts(&whole, cancel)?.into_iter().flatten().collect())
    }

    /// For each text its vector, then one for each of its parts, given by their bytes: the mean over the part's
    /// tokens, each read in the light of the whole text (late chunking, <https://arxiv.org/abs/2409.04701>).
    /// A part that lies behind the text's 256th token gets the null vector.
    ///
    /// # Errors
    /// As [`Encoder::encode`].
    pub fn encode_parts(&self, texts: &[Parted<'_>], cancel: &Cancel) -> Result<Vec<Vec<Vec<f32>>>> {
        let read = texts.par_iter().map(|text| self.read(text)).collect::<Result<Vec<_>>>()?;
        let mut order: Vec<usize> = (0..read.len()).collect();
        order.sort_by_key(|&i| std::cmp::Reverse(read[i].ids.len()));
        let mut vectors = vec![Vec::new(); read.len()];
        let mut rest = order.as_slice();
        while !rest.is_empty() {
            cancel.check()?;
            let mut n_tokens = 0;
            let fits = |i: &&usize| {
                n_tokens += read[**i].ids.len();
                n_tokens <= BATCH_TOKENS
            };
            let (batch, later) = rest.split_at(rest.iter().take_while(fits).count().max(1));
            let batch_texts: Vec<&Read> = batch.iter().map(|&i| &read[i]).collect();
            for (&i, found) in batch.iter().zip(self.batch(&batch_texts)?) {
                vectors[i] = found;
            }
            rest = later;
        }
        Ok(vectors)
    }

    /// A text as tokens, and which tokens are whose.
    fn read(&self, &(text, parts): &Parted<'_>) -> Result<Read> {
        if parts.is_empty() {
            let ids = self.tokens(text)?;
            return Ok(Read { parts: std::iter::once(0..ids.len()).collect(), ids });
        }
        let encoding = self.marked(self.tokenizer.encode(text, false).map_err(untokenized)?)?;
        let ids = encoding.get_ids().to_vec();
        let tokens_of = |part: &Range<usize>| {
            let inside =
                |&(start, end): &(usize, usize)| end > start && start >= part.start && end <= part.end;
            let of: Vec<usize> = (0..)
                .zip(encoding.get_offsets())
                .filter(|(_, place)| inside(place))
                .map(|(i, _)| i)
                .collect();
            of.first().map_or(0..0, |&first| first..first + of.len())
        };
        Ok(Read { parts: std::iter::once(0..ids.len()).chain(parts.iter().map(tokens_of)).collect(), ids })
    }

    /// How many tokens `text` has, marks at its ends included, read or not.
    ///
    /// # Errors
    /// When the text cannot be tokenized.
    pub fn count_tokens(&self, text: &str) -> Result<usize> {
        Ok(self.tokenizer.encode_fast(text, true).map_err(untokenized)?.len())
    }

    fn tokens(&self, text: &str) -> Result<Vec<u32>> {
        let encoding = self.marked(self.tokenizer.encode_fast(text, false).map_err(untokenized)?)?;
        Ok(encoding.get_ids().to_vec())
    }

    /// What is read of a text's tokens, with the marks at its ends.
    fn marked(&self, mut encoding: Encoding) -> Result<Encoding> {
        let n_marks = self.tokenizer.get_post_processor().map_or(0, |marks| marks.added_tokens(false));
        encoding.truncate(self.longest.saturating_sub(n_marks), 0, TruncationDirection::Right);
        self.tokenizer.post_process(encoding, None, true).map_err(untokenized)
    }

    /// The vectors of some texts.
    fn batch(&self, texts: &[&Read]) -> Result<Vec<Vec<Vec<f32>>>> {
        let ids: Vec<&[u32]> = texts.iter().map(|text| text.ids.as_slice()).collect();
        let states = self.model.forward(&ids)?;
        let mut rest = states.as_slice();
        let mut vectors = Vec::with_capacity(texts.len());
        for text in texts {
            let (own, others) = rest.split_at(text.ids.len() * self.n_dimensions);
            let of_part = |part: &Range<usize>| pooled(own, part.clone(), self.n_dimensions);
            vectors.push(text.parts.iter().map(of_part).collect());
            rest = others;
        }
        Ok(vectors)
    }
}

/// A text as its tokens.
struct Read {
    ids: Vec<u32>,
    /// The tokens of the whole text, then of its parts.
    parts: Vec<Range<usize>>,
}

/// The mean of some rows of `states`, of length 1.
fn pooled(states: &[f32], rows: Range<usize>, n_dimensions: usize) -> Vec<f32> {
    let mut sum = vec![0f32; n_dimensions];
    for row in states.chunks_exact(n_dimensions).take(rows.end).skip(rows.start) {
        for (sum, x) in sum.iter_mut().zip(row) {
            *sum += x;
        }
    }
    let length = sum.iter().map(|x| x * x).sum::<f32>().sqrt().max(1e-12);
    for sum in &mut sum {
        *sum /= length;
    }
    sum
}

#[expect(clippy::needless_pass_by_value, reason = "what map_err hands over")]
fn untokenized(e: tokenizers::Error) -> Error {
    Error::refused(format!("the text cannot be tokenized: {e}"), REMEDY)
}

fn tokenizer(folder: &Path) -> Result<tokenizers::Tokenizer> {
    let path = folder.join("tokenizer.json");
    let broken = |e: tokenizers::Error| Error::file(&path, format!("cannot be understood: {e}"), REMEDY);
    let bytes = std::fs::read(&path).map_err(Error::io("read", &path))?;
    let mut tokenizer = tokenizers::Tokenizer::from_bytes(bytes).map_err(broken)?;
    tokenizer.with_padding(None).with_truncation(None).map_err(broken)?;
    Ok(tokenizer)
}

fn tensors(path: &Path) -> Result<VarBuilder<'static>> {
    let file_bytes = std::fs::metadata(path).map_err(Error::io("read", path))?.len();
    let stored = tensors_of_file(path)?;
    let faults: Vec<String> = stored
        .iter()
        .filter_map(|(name, tensor)| Some(format!("tensor `{name}` {}", tensor.fault(file_bytes)?)))
        .collect();
    if !faults.is_empty() {
        return Err(Error::file(path, faults.join("; "), REMEDY));
    }
    let tensors = stored
        .into_iter()
        .map(|(name, tensor)| Ok((name, tensor.load(RowOrder::AsStored)?)))
        .collect::<Result<HashMap<_, _>>>()?;
    Ok(VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu))
}
