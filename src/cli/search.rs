//! `lorascope search`: what does the retriever find, and why?

use std::fmt::Write;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::{Common, cancel_on_signals, open, say, say_json};
use crate::corpus::Chunking;
use crate::hub::Store;
use crate::rag::{Passage, Rerank, Retrieval};

/// `lorascope search`
#[derive(Debug, Args)]
pub struct SearchArgs {
    /// What to look for.
    #[arg(value_parser = open::words)]
    pub query: String,
    /// Passages shown at most.
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = open::at_least_one)]
    pub top: usize,
    /// How candidates are put in order: fused, cosine or off.
    #[arg(long, default_value = "fused")]
    pub rerank: Rerank,
}

/// Runs it.
pub fn run(args: &SearchArgs, common: &Common) -> anyhow::Result<ExitCode> {
    let cancel = cancel_on_signals()?;
    let (paths, settings) = common.settings()?;
    let corpus = open::corpus(&paths, &settings)?;
    let store = Store::open(&paths, &settings.hub)?;
    let index = open::index((&paths, Chunking::of(settings.chunk_tokens)), &store, &corpus, &cancel)?;
    let Retrieval { passages, timings } = index.retrieve(&args.query, args.top, args.rerank)?;
    if common.json {
        say_json(&json!({"query": args.query, "passages": passages, "timings_ms": timings}))?;
        return Ok(ExitCode::SUCCESS);
    }
    if passages.is_empty() {
        say("nothing was found; try other words, or --rerank fused")?;
    }
    for passage in &passages {
        say(passage_text(passage))?;
    }
    say(format!(
        "{} chunks  BM25 {:.1} ms  question {:.1} ms  order {:.1} ms  in all {:.1} ms",
        index.n_chunks(),
        timings.bm25,
        timings.embed,
        timings.rerank,
        timings.total
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// A passage with its scores, for people.
pub(super) fn passage_text(passage: &Passage) -> String {
    let bm25 = match passage.bm25_rank {
        Some(rank) => format!("BM25 #{rank} {:.2}", passage.bm25_score),
        None => "BM25 –".to_owned(),
    };
    let mut text = format!(
        "{}  {}  {bm25}  cosine {:.3}, of the nearest sentence {:.3}\n",
        passage.final_rank, passage.document, passage.cosine, passage.sentence_cosine
    );
    let _ = writeln!(text, "   {}", passage.heading);
    for line in passage.text.lines().filter(|line| !line.trim().is_empty()) {
        let _ = writeln!(text, "   {line}");
    }
    text
}
