//! What did the model lose of what it knew before?

use serde::Serialize;

use crate::error::Result;
use crate::model::{Adapter, LanguageModel};
use crate::train::data::general_text;
use crate::train::evaluate::mean_loss;

/// How hard general text is for the base and for the fine-tuned model.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Forgetting {
    /// Passages of general text.
    pub n_texts: usize,
    /// Mean nats per token, base.
    pub base_general_loss: f64,
    /// Its exponential.
    pub base_general_perplexity: f64,
    /// Mean nats per token, fine-tuned; missing without an adapter.
    pub tuned_general_loss: Option<f64>,
    /// Its exponential.
    pub tuned_general_perplexity: Option<f64>,
}

/// Measures the whole built-in probe of general text.
///
/// # Errors
/// When the arithmetic fails.
pub fn forgetting(model: &LanguageModel, adapter: Option<&Adapter>) -> Result<Forgetting> {
    let texts = general_text(model, usize::MAX)?;
    let base = mean_loss(&model.decoder, None, &texts)?;
    let tuned = adapter.map(|adapter| mean_loss(&model.decoder, Some(adapter), &texts)).transpose()?;
    Ok(Forgetting {
        n_texts: texts.len(),
        base_general_loss: base,
        base_general_perplexity: base.exp(),
        tuned_general_loss: tuned,
        tuned_general_perplexity: tuned.map(f64::exp),
    })
}
