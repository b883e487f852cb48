//! How does a `SentencePiece` vocabulary with scores become merges?
//!
//! `SentencePiece` BPE joins the neighbours whose sum has the best score; the `tokenizers` crate wants the
//! same knowledge as a ranked list of merges. Every way to cut a token into two tokens is a merge,
//! and the score of the sum is its rank, as in transformers' conversion.

use tokenizers::decoders::DecoderWrapper;
use tokenizers::decoders::byte_fallback::ByteFallback;
use tokenizers::decoders::fuse::Fuse;
use tokenizers::decoders::sequence::Sequence;
use tokenizers::decoders::strip::Strip;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::normalizers::Replace;
use tokenizers::pre_tokenizers::metaspace::{Metaspace, PrependScheme};

use super::gguf::merges;
use crate::model::gguf::{Gguf, Value};

/// Longer tokens are never the sum of two: `SentencePiece` makes none beyond 16 characters by default.
const LONGEST: usize = 128;

/// Builds the tokenizer of a GGUF file of the kind `llama`.
pub(super) fn build(gguf: &Gguf, tokens: &[String]) -> tokenizers::Result<tokenizers::Tokenizer> {
    let vocab: Vocab = tokens.iter().enumerate().map(|(i, t)| (t.clone(), i as u32)).collect();
    let merges = match (gguf.texts("tokenizer.ggml.merges"), gguf.metadata.get("tokenizer.ggml.scores")) {
        (Some(lines), _) => merges(lines, &vocab)?,
        (None, Some(Value::Floats(scores))) if scores.len() == tokens.len() => {
            from_scores(tokens, scores, &vocab)
        }
        _ => return Err("it has neither merges nor a score for each token".into()),
    };
    let bpe = BPE::builder().vocab_and_merges(vocab, merges).fuse_unk(true).byte_fallback(true).build()?;
    let mut tokenizer = tokenizers::Tokenizer::new(bpe);
    let leading_space = gguf.flag("tokenizer.ggml.add_space_prefix").unwrap_or(true);
    let scheme = if leading_space { PrependScheme::First } else { PrependScheme::Never };
    tokenizer.with_pre_tokenizer(Some(Metaspace::new('\u{2581}', scheme, false)));
    let mut steps: Vec<DecoderWrapper> =
        vec![Replace::new("\u{2581}", " ")?.into(), ByteFallback::new().into(), Fuse::new().into()];
    if leading_space {
        steps.push(Strip::new(' ', 1, 0).into());
    }
    tokenizer.with_decoder(Some(Sequence::new(steps)));
    Ok(tokenizer)
}

/// A merge on its way to its rank.
struct Merge {
    score: f32,
    left: String,
    right: String,
}

fn from_scores(tokens: &[String], scores: &[f32], vocab: &Vocab) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for (token, &score) in tokens.iter().zip(scores) {
        if token.chars().count() > LONGEST {
            continue;
        }
        let mut ways: Vec<_> = token
            .char_indices()
            .skip(1)
            .filter_map(|(i, _)| {
                let (left, right) = token.split_at(i);
                Some((vocab.get(left)?, vocab.get(right)?, left, right))
            })
            .collect();
        ways.sort_by_key(|(left, right, ..)| (*left, *right));
        all.extend(ways.into_iter().map(|(_, _, left, right)| Merge {
            score,
            left: left.to_owned(),
            right: right.to_owned(),
        }));
    }
    // Best first; among equals the longer left half, then the longer right one.
    let length = |text: &str| text.chars().count();
    all.sort_by(|a, b| {
        let by_score = b.score.total_cmp(&a.score);
        by_score.then_with(|| (length(&b.left), length(&b.right)).cmp(&(length(&a.left), length(&a.right))))
    });
    all.into_iter().map(|merge| (merge.left, merge.right)).collect()
}
