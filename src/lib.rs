//! Should one fine-tune, or retrieve? lorascope is a terminal laboratory for LoRA and retrieval.
//!
//! `docs/architecture.md` explains the floors: a module imports only from floors below its own.

// floor 0
pub mod cancel;
pub mod config;
pub mod error;
pub mod files;
pub mod kernels;
pub mod meter;
pub mod paths;
// floor 1
pub mod corpus;
pub mod hub;
pub mod model;
pub mod sample;
// floor 2
pub mod rag;
pub mod run;
pub mod train;
// floor 3
pub mod lab;
// floor 4
pub mod worker;
// floor 5
pub mod app;
// floor 6
pub mod ui;
// floor 7
pub mod plot;
pub mod report;
pub mod tui;
// floor 8
pub mod cli;
