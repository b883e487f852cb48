//! What is measured, and how?

mod contender;
pub mod speed;

pub use contender::{Answer, Contender};
