//! What is measured, and how?

mod comparison;
mod contender;
mod quiz;
mod retrieval;
mod scoring;
mod statistics;

pub use comparison::{Comparison, Verdict, compare};
pub use contender::{Answer, Contender};
pub use quiz::{QuizQuestion, quiz};
pub use retrieval::{mrr, ndcg_at, recall_at};
pub use scoring::{Degeneration, abstains, degeneration, exact_match, f1};
pub use statistics::{mcnemar_exact, paired_bootstrap, wilson};
