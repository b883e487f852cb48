//! `lorascope report`: what does a run look like on paper?

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::{Common, say, say_json};
use crate::report;

/// `lorascope report`
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// The run: its folder, its name, or the start of its name.
    pub run: String,
    /// The folder to write to; without it, `report` in the run's folder.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

/// Runs it.
pub fn run(args: &ReportArgs, common: &Common) -> anyhow::Result<ExitCode> {
    let (paths, _) = common.settings()?;
    let run = crate::run::find(&paths.runs(), &args.run)?;
    let out = args.out.clone().unwrap_or_else(|| report::folder(&run));
    let written = report::write(&run, &out)?;
    if common.json {
        let files: Vec<_> = [&written.markdown, &written.html].into_iter().chain(&written.charts).collect();
        say_json(&json!({ "report": written.markdown, "html": written.html, "files": files }))?;
    } else {
        say(format!("page     {}", written.html.display()))?;
        say(format!("page     {}", written.markdown.display()))?;
        for chart in &written.charts {
            say(format!("chart    {}", chart.display()))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};
    use crate::config::{Settings, TrainSettings};
    use crate::run::RunRecord;
    use crate::train::{Recipe, Schedule, TrainConfig};

    fn record(train: TrainConfig) -> RunRecord {
        RunRecord {
            version: String::new(),
            model: "a-model".to_owned(),
            corpus: PathBuf::from("/corpora/islands"),
            corpus_digest: String::new(),
            kernels: "avx2".to_owned(),
            created_unix_s: 0,
            train,
        }
    }

    #[test]
    fn the_command_of_a_report_gives_the_same_run_whatever_the_settings() {
        let mut odd = TrainConfig::defaults(Recipe::Documents);
        (odd.steps, odd.lr, odd.weight_decay, odd.seed) = (Some(77), 2.5e-4, 0.01, u64::MAX);
        (odd.lora.rank, odd.lora.alpha, odd.lora.rslora) = (5, 7.5, true);
        (odd.schedule, odd.accumulation, odd.clip) = (Schedule::Linear, 3, 0.5);
        (odd.wordings, odd.replay, odd.kl) = (Some(1), 0.1, 0.5);
        odd.lora.targets.pop_first();
        for config in [TrainConfig::defaults(Recipe::Qa), odd] {
            let line = report::command_line(&record(config.clone())).join(" ");
            let command = line.strip_prefix("LORASCOPE_KERNELS=avx2 ").unwrap();
            let cli = Cli::try_parse_from(command.split_whitespace()).unwrap();
            assert_eq!(cli.common.corpus, Some(PathBuf::from("/corpora/islands")));
            let Some(Command::Train(args)) = cli.command else { unreachable!("{line}") };
            let train = TrainSettings { rank: Some(3), lr: Some(0.5), ..TrainSettings::default() };
            let settings = Settings { recipe: Some("qa".to_owned()), train, ..Settings::default() };
            let again = args.flags.config(&settings).unwrap();
            // Where steps are given, epochs say nothing.
            assert_eq!(TrainConfig { epochs: config.epochs, ..again }, config, "{line}");
        }
    }
}
