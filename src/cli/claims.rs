//! `lorascope claims`: which of the article's claims hold here?

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::{Common, say, say_json};
use crate::error::Error;
use crate::lab::claims::{Borne, Evidence, judged};

/// `lorascope claims`
#[derive(Debug, Args)]
pub struct ClaimsArgs {
    /// The folder of runs, a sweep's for instance; without it, the program's own.
    #[arg(long, value_name = "DIR")]
    pub runs: Option<PathBuf>,
}

/// Runs it.
pub fn run(args: &ClaimsArgs, common: &Common) -> anyhow::Result<ExitCode> {
    let (paths, _) = common.settings()?;
    if let Some(runs) = args.runs.as_ref().filter(|runs| !runs.is_dir()) {
        return Err(Error::file(runs, "is not a folder", "name a folder of runs").into());
    }
    let judged = judged(&Evidence::of_runs(&args.runs.clone().unwrap_or_else(|| paths.runs()))?);
    if common.json {
        let told = judged.iter().map(|judged| {
            json!({
                "claim": judged.claim, "says": judged.claim.says(), "rule": judged.claim.rule(),
                "verdict": judged.verdict, "findings": judged.findings,
            })
        });
        say_json(&json!({ "claims": told.collect::<Vec<_>>() }))?;
        return Ok(ExitCode::SUCCESS);
    }
    for judged in &judged {
        let verdict = judged.verdict.map_or("not measured yet", Borne::words);
        say(format!("{}: {verdict}", judged.claim.name()))?;
        say(format!("  {}", judged.claim.says()))?;
        for finding in &judged.findings {
            say(format!(
                "  {}, {}: {} ({})",
                finding.about,
                finding.measured,
                finding.verdict.words(),
                finding.run
            ))?;
        }
        if judged.findings.is_empty() {
            say(format!("  shown by: {}", judged.claim.how()))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
