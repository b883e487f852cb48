//! What is measured, and how?

mod answer;
mod checks;
pub mod claims;
mod comparison;
mod contender;
mod cost;
mod forgetting;
mod gold;
mod grounding;
mod off_type;
mod quiz;
mod retrieval;
pub mod scoreboard;
mod scoring;
pub mod speed;
mod statistics;
pub mod sweep;
mod task;

pub use answer::{Answer, AnswerEvent, Brief, Desk, Tuned, answer, gold_of};
pub use checks::{check_adapter, check_held_out, check_prompts, check_unseen};
pub use comparison::{Comparison, Verdict, compare};
pub use contender::Contender;
pub use cost::{Answering, Cost, IndexingCost, PRICE_PER_HOUR, indexing_cost};
pub use forgetting::{BaseKnowledge, Forgetting, forgetting};
pub use gold::{Gold, Wanted, gold};
pub use grounding::is_grounded;
pub use off_type::is_off_type;
pub use quiz::{QuizQuestion, quiz};
pub use retrieval::{ArmScore, Missed, Retrieved, mrr, ndcg_at, recall_at, retrieved};
pub use scoring::{Degeneration, abstains, degeneration, exact_match, f1};
pub use statistics::{mcnemar_exact, paired_bootstrap, wilson, with_interval};
pub use task::{SHOTS, TaskAnswer, TaskDesk, TaskScore, do_task};
