//! How does the sentence encoder serve the index?

use std::path::Path;

use super::{Embed, Parted};
use crate::cancel::Cancel;
use crate::error::Result;
use crate::model::Encoder;

/// A sentence encoder under the name that its vectors are kept by.
#[derive(Debug)]
pub struct Embedder {
    encoder: Encoder,
    name: String,
}

impl Embedder {
    /// Reads the encoder in `folder`; `name` is the model's.
    ///
    /// # Errors
    /// As [`Encoder::load`].
    pub fn load(folder: &Path, name: &str) -> Result<Self> {
        Ok(Self { encoder: Encoder::load(folder)?, name: format!("{name}, mean pooling, L2") })
    }
}

impl Embed for Embedder {
    fn embed(&self, texts: &[&str], cancel: &Cancel) -> Result<Vec<Vec<f32>>> {
        self.encoder.encode(texts, cancel)
    }

    fn embed_parts(&self, texts: &[Parted<'_>], cancel: &Cancel) -> Result<Vec<Vec<Vec<f32>>>> {
        self.encoder.encode_parts(texts, cancel)
    }

    fn count_tokens(&self, text: &str) -> usize {
        // A text that cannot be tokenized is refused when it is embedded; here it counts as long.
        self.encoder.count_tokens(text).unwrap_or(text.len())
    }

    fn name(&self) -> &str {
        &self.name
    }
}
