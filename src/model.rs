//! What reads and writes text?

pub mod adapter;
pub mod chat;
pub mod config;
pub mod decoder;
pub mod encoder;
pub mod export;
pub mod generate;
pub mod gguf;
pub mod lora;
pub mod merge;
pub mod stored;
pub mod tokenizer;
pub mod weights;

use std::path::Path;

pub use adapter::Adapter;
pub use chat::{ChatTemplate, GenerationPrompt, Message, Role};
pub use config::{Architecture, ModelConfig};
pub use encoder::{Encoder, Parted};
pub use tokenizer::{Detokenizer, Tokenizer};
pub use weights::{LayerWeight, LayerWeights, StoredWeights, WeightName, Weights};

use crate::error::{Error, Result};
use decoder::Decoder;
use gguf::Gguf;

/// A model that can be asked and trained: the frozen decoder with its words.
#[derive(Debug)]
pub struct LanguageModel {
    /// What it is called.
    pub name: String,
    /// The frozen weights.
    pub decoder: Decoder,
    /// Text to tokens and back.
    pub tokenizer: Tokenizer,
    /// The form of a conversation.
    pub chat: ChatTemplate,
    /// Tokens that end an answer.
    pub stop: Vec<u32>,
    /// The token that ends a raw text, if the model has one.
    pub text_end: Option<u32>,
}

impl LanguageModel {
    /// Opens the model at `path` (see [`open`]) under a name of its own.
    pub fn load(path: &Path, name: &str) -> Result<Self> {
        let ModelParts { config, weights: decoder, tokenizer, chat, .. } = open_with(path, Decoder::read)?;
        let text_end = tokenizer.token_id("<|endoftext|>").or(config.eos_token);
        let stop = config.stop_tokens;
        Ok(Self { name: name.to_owned(), decoder, tokenizer, chat, stop, text_end })
    }

    /// The tokens of a question put closed-book, up to the model's turn.
    pub fn question_prompt(&self, question: &str) -> Result<Vec<u32>> {
        self.chat.encode(&self.tokenizer, &[Message::user(question)], GenerationPrompt::Add)
    }
}

/// Everything a decoder is made of, read from one place.
#[derive(Debug, Clone)]
pub struct ModelParts<W = Weights> {
    /// What the file or folder is called, without `.gguf`.
    pub name: String,
    /// Sizes, constants and special tokens; `stop_tokens` is complete.
    pub config: ModelConfig,
    /// The frozen tensors, or what was made of them.
    pub weights: W,
    /// Text to tokens and back.
    pub tokenizer: Tokenizer,
    /// The form of a conversation.
    pub chat: ChatTemplate,
}

/// Opens the model at `path`: a `.gguf` file, or a folder in Hugging Face layout.
///
/// # Errors
/// When there is neither, or it is broken, incomplete or of an architecture that is not supported.
pub fn open(path: &Path) -> Result<ModelParts> {
    open_with(path, StoredWeights::read)
}

/// The same, with what `read` makes of the tensors.
fn open_with<W: Send>(
    path: &Path,
    read: impl FnOnce(&StoredWeights) -> Result<W> + Send,
) -> Result<ModelParts<W>> {
    if path.is_dir() {
        let config = ModelConfig::from_hugging_face(path)?;
        let tokenizer = Tokenizer::from_file(&path.join("tokenizer.json"))?;
        let chat = ChatTemplate::from_hugging_face(path)?;
        let weights = read(&StoredWeights::of_hugging_face(path, &config)?)?;
        return assemble(path, (config, weights), tokenizer, chat);
    }
    if !path.is_file() {
        return Err(Error::file(
            path,
            "no such file or folder",
            "name a .gguf file or a Hugging Face folder",
        ));
    }
    let gguf = Gguf::open(path)?;
    let config = ModelConfig::from_gguf(&gguf)?;
    let chat = ChatTemplate::from_gguf(&gguf)?;
    let stored = StoredWeights::of_gguf(&gguf, &config)?;
    let (tokenizer, weights) = rayon::join(|| Tokenizer::from_gguf(&gguf), || read(&stored));
    assemble(path, (config, weights?), tokenizer?, chat)
}

fn assemble<W>(
    path: &Path,
    (mut config, weights): (ModelConfig, W),
    tokenizer: Tokenizer,
    chat: ChatTemplate,
) -> Result<ModelParts<W>> {
    if tokenizer.vocab_size() > config.vocab_size {
        let (tokens, rows) = (tokenizer.vocab_size(), config.vocab_size);
        let what = format!("the tokenizer knows {tokens} tokens, the embedding has {rows} rows");
        return Err(Error::file(path, what, "the parts are of different models: get it again"));
    }
    config.stop_tokens = chat::stop_tokens(&config, &tokenizer);
    let name = if path.is_dir() { path.file_name() } else { path.file_stem() };
    let name = name.map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned());
    Ok(ModelParts { name, config, weights, tokenizer, chat })
}
