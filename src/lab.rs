//! What is measured, and how?

mod answer;
mod contender;
mod forgetting;
pub mod scoreboard;
pub mod scoring;
pub mod statistics;

pub use answer::{Answer, AnswerEvent, Brief, Desk, Tuned, answer, gold_of};
pub use contender::Contender;
pub use forgetting::{Forgetting, forgetting};
