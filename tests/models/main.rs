//! Do models get into the store whole, whatever the network, pip, the disk and other processes do?
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod bench;
mod cli;
mod hub;
mod ids;
mod import;
mod pip;
mod server;
