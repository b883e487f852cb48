//! Which laws does training obey, whatever the model?
//!
//! Each is shown with a two-layer random decoder; `peft` compares with recorded runs of PEFT.

mod asking;
mod double;
mod exporting;
mod keeping;
mod killing;
mod learning;
mod peft;
