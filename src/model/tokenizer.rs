//! How does text become token ids, and ids text?
//!
//! A [`Tokenizer`] comes from a `tokenizer.json` or from the vocabulary inside a GGUF file. Control
//! tokens such as `<|im_start|>` are recognised by [`Tokenizer::encode`], for rendered chats, and are
//! plain text to [`Tokenizer::encode_plain`], for what users and documents say.

mod byte_level;
mod detokenizer;
mod gguf;
mod sentencepiece;

use std::path::Path;

use crate::error::{Error, Result};
use crate::model::gguf::Gguf;

pub use detokenizer::Detokenizer;
use detokenizer::Spelling;

/// Text to token ids and back.
#[derive(Debug, Clone)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    /// The same, deaf to control tokens.
    plain: tokenizers::Tokenizer,
    spelling: Spelling,
    special: Vec<String>,
}

impl Tokenizer {
    /// Reads a `tokenizer.json`.
    ///
    /// # Errors
    /// When the file cannot be read or understood.
    pub fn from_file(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(Error::io("read", path))?;
        let inner = tokenizers::Tokenizer::from_bytes(bytes)
            .map_err(|e| Error::file(path, format!("cannot be understood: {e}"), "get the file again"))?;
        Self::new(inner).map_err(|e| Error::file(path, e.to_string(), "get the file again"))
    }

    /// Builds the tokenizer that a GGUF file describes: byte-level BPE (`gpt2`) or `SentencePiece` BPE
    /// (`llama`).
    ///
    /// # Errors
    /// When the file describes none, another kind, or an inconsistent one.
    pub fn from_gguf(gguf: &Gguf) -> Result<Self> {
        let inner = gguf::build(gguf)?;
        Self::new(inner).map_err(|e| Error::file(&gguf.path, e.to_string(), "get the file again"))
    }

    /// Writes it as a `tokenizer.json`, from which [`Tokenizer::from_file`] reads the same one.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        let text = self.inner.to_string(false);
        let text = text.map_err(|e| Error::file(path, e.to_string(), "report this as a fault"))?;
        crate::files::write_whole(path, text.as_bytes())
    }

    fn new(mut inner: tokenizers::Tokenizer) -> tokenizers::Result<Self> {
        inner.with_padding(None);
        inner.with_truncation(None)?;
        let mut special: Vec<String> = inner
            .get_added_tokens_decoder()
            .into_values()
            .filter(|token| token.special)
            .map(|token| token.content)
            .collect();
        special.sort_unstable_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        let mut plain = inner.clone();
        plain.set_encode_special_tokens(true);
        Ok(Self { spelling: Spelling::of(&inner), inner, plain, special })
    }

    /// The ids of `text`, with control tokens in it recognised as such. Nothing is added: no BOS.
    ///
    /// # Errors
    /// When the tokenizer's own rules fail on the text.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        ids(&self.inner, text)
    }

    /// The ids of `text` with control tokens in it spelled out as ordinary text, so that nobody can
    /// end a turn from inside a question or a document.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn encode_plain(&self, text: &str) -> Result<Vec<u32>> {
        ids(&self.plain, text)
    }

    /// The text of `ids`, control tokens included; bytes that form no character become U+FFFD, ids
    /// that no token has are left out.
    ///
    /// # Errors
    /// When the tokenizer's own rules fail on the ids.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        self.inner.decode(ids, false).map_err(|e| {
            Error::refused(format!("the tokens cannot be decoded: {e}"), "get the model's tokenizer again")
        })
    }

    /// Decodes a stream of ids, whole characters at a time.
    pub fn detokenizer(&self) -> Detokenizer<'_> {
        Detokenizer::new(self)
    }

    /// The id of exactly this token, control tokens included.
    pub fn token_id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// The token with this id, as the vocabulary spells it.
    pub fn token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// How many tokens there are, control tokens included.
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// The control tokens, longest first.
    pub fn special_tokens(&self) -> &[String] {
        &self.special
    }
}

fn ids(tokenizer: &tokenizers::Tokenizer, text: &str) -> Result<Vec<u32>> {
    let encoding = tokenizer.encode_fast(text, false).map_err(|e| {
        Error::refused(format!("the text cannot be tokenized: {e}"), "get the model's tokenizer again")
    })?;
    Ok(encoding.get_ids().to_vec())
}
