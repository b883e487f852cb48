//! What is measured, and how?

mod answer;
mod comparison;
mod contender;
mod forgetting;
mod gold;
mod quiz;
mod retrieval;
pub mod scoreboard;
mod scoring;
pub mod speed;
mod statistics;
pub mod sweep;
mod task;

pub use answer::{Answer, AnswerEvent, Brief, Desk, Tuned, answer, gold_of};
pub use comparison::{Comparison, Verdict, compare};
pub use contender::Contender;
pub use forgetting::{BaseKnowledge, Forgetting, forgetting};
pub use gold::{Gold, gold};
pub use quiz::{QuizQuestion, quiz};
pub use retrieval::{mrr, ndcg_at, recall_at};
pub use scoring::{Degeneration, abstains, degeneration, exact_match, f1};
pub use statistics::{mcnemar_exact, paired_bootstrap, wilson};
pub use task::{SHOTS, TaskAnswer, TaskDesk, TaskScore, do_task};
