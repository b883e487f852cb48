//! Where does the program begin? Here: it reads the command line and hands over to `lorascope::cli`.

use std::process::ExitCode;

use clap::Parser;
use lorascope::cli;

fn main() -> ExitCode {
    cli::run(cli::Cli::parse()).unwrap_or_else(|error| cli::report(&error))
}
