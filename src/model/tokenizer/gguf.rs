//! Which tokenizer does a GGUF file describe?
//!
//! The file holds the vocabulary and the merges, but the rules that cut text into words only by name
//! (`tokenizer.ggml.pre`); the table below says what each name stands for. Names and rules follow
//! transformers' reading of GGUF files.

use tokenizers::AddedToken;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::tokenizer::SplitDelimiterBehavior;

use super::{byte_level, sentencepiece};
use crate::error::{Error, Result};
use crate::model::gguf::Gguf;

const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// `tokenizer.ggml.token_type` of a token that is matched in the text and has a meaning of its own.
const CONTROL: i64 = 3;
/// `tokenizer.ggml.token_type` of a token that is matched in the text but is ordinary otherwise.
const USER_DEFINED: i64 = 4;

/// How a byte-level vocabulary cuts text into words, before the merges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Words {
    /// GPT-2's rule, built into the byte-level step.
    Gpt2,
    /// Another rule.
    Pattern(&'static str),
}

impl Words {
    /// What `tokenizer.ggml.pre` stands for.
    ///
    /// `smollm` says more than is honoured here: `SmolLM` was trained with every digit cut off on its
    /// own before GPT-2's rule. Its merges hold no two digits, so the ids differ only where white space
    /// stands before a digit ("\n\n1." is one token fewer, "  12" too) and around digits outside ASCII.
    /// The weights do expect that (numbered lists cost them 13 to 17 % fewer nats in all), but
    /// transformers reads the name as plain GPT-2 when it opens such a file, the references were
    /// recorded from it, and the same ids are worth more than those nats. A `tokenizer.json` is
    /// honoured as it stands.
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "default" | "gpt-2" | "gpt2" | "smollm" | "starcoder" | "refact" | "olmo" | "phi-2" => Self::Gpt2,
            "llama-bpe" | "llama3" | "llama-v3" | "falcon3" | "smaug-bpe" | "dbrx" => Self::Pattern(LLAMA3),
            "qwen2" | "deepseek-r1-qwen" | "megrez" => Self::Pattern(QWEN2),
            "tekken" => Self::Pattern(TEKKEN),
            _ => return None,
        })
    }

    fn pre_tokenizer(self) -> tokenizers::Result<PreTokenizerWrapper> {
        Ok(match self {
            Self::Gpt2 => ByteLevel::new(false, true, true).into(),
            Self::Pattern(pattern) => {
                let pattern = SplitPattern::Regex(pattern.to_owned());
                let split = Split::new(pattern, SplitDelimiterBehavior::Isolated, false)?;
                Sequence::new(vec![split.into(), ByteLevel::new(false, true, false).into()]).into()
            }
        })
    }
}

/// Builds the tokenizer of a GGUF file.
pub(super) fn build(gguf: &Gguf) -> Result<tokenizers::Tokenizer> {
    let (remedy, other) =
        ("get the file again, or another conversion of the model", "use the model's Hugging Face folder");
    let tokens = gguf.texts("tokenizer.ggml.tokens").ok_or_else(|| {
        Error::file(&gguf.path, "holds no tokenizer", "use a file with one, or a Hugging Face folder")
    })?;
    let build = match gguf.text("tokenizer.ggml.model").unwrap_or("(none named)") {
        "gpt2" => {
            let name = gguf.text("tokenizer.ggml.pre").unwrap_or("default");
            let words = Words::named(name).ok_or_else(|| {
                Error::file(&gguf.path, format!("cuts words by the unknown rule `{name}`"), other)
            })?;
            byte_level_bpe(gguf, tokens, words)
        }
        "llama" => sentencepiece::build(gguf, tokens),
        name => {
            let what = format!("tokenizers of the kind `{name}` are not supported (gpt2 and llama are)");
            return Err(Error::file(&gguf.path, what, other));
        }
    };
    build
        .and_then(|mut tokenizer| {
            add_tokens(gguf, tokens, &mut tokenizer)?;
            begin_texts(gguf, tokens, &mut tokenizer)?;
            Ok(tokenizer)
        })
        .map_err(|e| Error::file(&gguf.path, format!("the tokenizer inside is broken: {e}"), remedy))
}

fn byte_level_bpe(gguf: &Gguf, tokens: &[String], words: Words) -> tokenizers::Result<tokenizers::Tokenizer> {
    let types = gguf.ints("tokenizer.ggml.token_type").unwrap_or_default();
    let matched = |i: usize| matches!(types.get(i), Some(&(CONTROL | USER_DEFINED)));
    let vocab: Vocab = tokens
        .iter()
        .enumerate()
        .map(|(i, token)| {
            let literal = matched(i) || byte_level::is_spelled(token);
            (if literal { token.clone() } else { byte_level::spell(token) }, i as u32)
        })
        .collect();
    let merges = merges(gguf.texts("tokenizer.ggml.merges").unwrap_or_default(), &vocab)?;
    let whole_words_first = matches!(words, Words::Pattern(LLAMA3)); // as Llama 3 was trained
    let bpe = BPE::builder().vocab_and_merges(vocab, merges).ignore_merges(whole_words_first).build()?;
    let mut tokenizer = tokenizers::Tokenizer::new(bpe);
    tokenizer.with_pre_tokenizer(Some(words.pre_tokenizer()?));
    tokenizer.with_decoder(Some(ByteLevel::new(true, true, true)));
    Ok(tokenizer)
}

/// The merges as pairs, each checked: both halves and their sum must be tokens.
pub(super) fn merges(lines: &[String], vocab: &Vocab) -> tokenizers::Result<Vec<(String, String)>> {
    let known = |token: &str| vocab.contains_key(token);
    lines
        .iter()
        .map(|line| {
            let pair =
                line.split_once(' ').filter(|(a, b)| known(a) && known(b) && known(&format!("{a}{b}")));
            let (a, b) = pair.ok_or_else(|| format!("the merge `{line}` is not of known tokens"))?;
            Ok((a.to_owned(), b.to_owned()))
        })
        .collect()
}

/// Makes control tokens and user-defined ones be matched whole in the text.
fn add_tokens(
    gguf: &Gguf,
    tokens: &[String],
    tokenizer: &mut tokenizers::Tokenizer,
) -> tokenizers::Result<()> {
    let types = gguf.ints("tokenizer.ggml.token_type").unwrap_or_default();
    let named = ["bos", "eos", "unknown", "padding", "eot", "eom"]
        .map(|name| gguf.int(&format!("tokenizer.ggml.{name}_token_id")));
    let (mut control, mut user_defined) = (Vec::new(), Vec::new());
    for (i, token) in tokens.iter().enumerate() {
        let kind = types.get(i).copied();
        if kind == Some(CONTROL) || named.contains(&Some(i)) {
            control.push(AddedToken::from(token.clone(), true).normalized(false));
        } else if kind == Some(USER_DEFINED) {
            user_defined.push(AddedToken::from(token.clone(), false).normalized(false));
        }
    }
    tokenizer.add_special_tokens(control)?;
    tokenizer.add_tokens(user_defined)?;
    Ok(())
}

/// Where the model wants each text to begin with a token of its own, says so for those who read the
/// tokenizer from a file. Here nothing is ever added: a chat template writes that token out.
fn begin_texts(
    gguf: &Gguf,
    tokens: &[String],
    tokenizer: &mut tokenizers::Tokenizer,
) -> tokenizers::Result<()> {
    let is_sentencepiece = gguf.text("tokenizer.ggml.model") == Some("llama");
    let token = gguf.int("tokenizer.ggml.bos_token_id").and_then(|id| Some((tokens.get(id)?, id as u32)));
    if let Some((token, id)) = token
        && gguf.flag("tokenizer.ggml.add_bos_token").unwrap_or(is_sentencepiece)
    {
        let template = TemplateProcessing::builder()
            .try_single(format!("{token} $A"))?
            .try_pair(format!("{token} $A {token}:1 $B:1"))?
            .special_tokens(vec![(token.clone(), id)])
            .build()?;
        tokenizer.with_post_processor(Some(template));
    }
    Ok(())
}
