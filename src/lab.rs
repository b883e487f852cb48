//! What is measured, and how?

mod contender;

pub use contender::{Answer, Contender};
