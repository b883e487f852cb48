//! How does what the manifest says about a model become the form of its prompts?

use super::{Form, Order, PromptForm};
use crate::hub::{PassageForm, PassageOrder, RagAdvice};

impl From<RagAdvice> for PromptForm {
    fn from(advice: RagAdvice) -> Self {
        Self {
            max_passages: advice.max_passages,
            n_sentences: advice.n_sentences,
            order: match advice.order {
                PassageOrder::BestLast => Order::BestLast,
                PassageOrder::BestFirst => Order::BestFirst,
            },
            form: match advice.prompt {
                PassageForm::TextThenQuestion => Form::TextThenQuestion,
                PassageForm::UseContext => Form::UseContext,
            },
        }
    }
}
