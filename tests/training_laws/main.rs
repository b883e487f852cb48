//! Which laws does training obey, whatever the model?
//!
//! Each is shown with a two-layer random decoder; `peft` compares with recorded runs of PEFT.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking, its helpers too"
)]

mod asking;
mod double;
mod exporting;
mod keeping;
mod killing;
mod learning;
mod peft;
mod rehearsing;
mod watching;
