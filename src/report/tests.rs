//! Does the report of a run hold what was measured, whatever state the run is in?

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;

use serde_json::json;

use super::*;
use crate::corpus::Wording;
use crate::run::{RunFolder, RunRecord};
use crate::train::facts::{CellReading, FactCell};
use crate::train::{EvalReport, Recall, Recipe, RunOutcome, StepReport, TrainConfig, TrainEvent};

fn record(recipe: Recipe) -> RunRecord {
    RunRecord {
        version: "9.8.7".to_owned(),
        model: "tiny-model".to_owned(),
        corpus: PathBuf::from("/corpora/the <islands> | new"),
        corpus_digest: "c0ffee".to_owned(),
        kernels: "portable".to_owned(),
        created_unix_s: 951_827_696,
        train: TrainConfig::defaults(recipe),
    }
}

fn step(step: usize, loss: f64) -> TrainEvent {
    TrainEvent::Stepped(StepReport {
        step,
        epoch: 0.5,
        loss,
        perplexity: loss.exp(),
        lr: 1e-3,
        grad_norm: 1.0,
        n_tokens: 100,
        tokens_per_s: 100.0,
        elapsed_s: step as f64 / 2.0,
    })
}

/// Validation loss, general perplexity, recall of trained and unseen wordings in percent.
fn eval(step: usize, valid_loss: f64, general: f64, recall: (usize, usize)) -> TrainEvent {
    let share = |n_right| Recall { n_right, n: 100 };
    TrainEvent::Evaluated(EvalReport {
        step,
        valid_loss: Some(valid_loss),
        general_loss: general.ln(),
        recall: BTreeMap::from([(Wording::Trained, share(recall.0)), (Wording::Unseen, share(recall.1))]),
        facts: Vec::new(),
        elapsed_s: step as f64 / 2.0,
    })
}

fn started(n_steps: usize) -> TrainEvent {
    TrainEvent::Started { n_steps, first_step: 0, n_trainable: 4_884_480, run: PathBuf::new() }
}

fn made(runs: &Path, events: &[TrainEvent]) -> PathBuf {
    made_by(runs, Recipe::Qa, events)
}

fn made_by(runs: &Path, recipe: Recipe, events: &[TrainEvent]) -> PathBuf {
    let path = runs.join("20000229-123456-run");
    let folder = RunFolder::create(&path, &record(recipe)).unwrap();
    for event in events {
        folder.record(event).unwrap();
    }
    path
}

/// A run of 240 steps, as the `qa` recipe goes.
fn whole_run() -> Vec<TrainEvent> {
    let mut events = vec![started(240), eval(0, 3.9, 12.9, (0, 0))];
    for n in 1..=240 {
        let x = n as f64;
        let wobble = (x * 7.31).sin() * (0.05 + 0.5 * (-x / 60.0).exp());
        events.push(step(n, (0.25 + 3.4 * (-x / 40.0).exp() + wobble).max(0.02)));
        if n % 30 == 0 {
            let learnt = 1.0 - (-x / 70.0).exp();
            let recall = ((99.0 * learnt) as usize, (88.0 * learnt) as usize);
            events.push(eval(n, 0.6 + 3.3 * (-x / 60.0).exp(), 12.9 + 14.1 * learnt, recall));
        }
    }
    events.push(TrainEvent::Ended(RunOutcome::Completed));
    events
}

fn scores(contains: f64, ci95: [f64; 2]) -> serde_json::Value {
    json!({"n": 160, "contains": contains, "exact": 0.5, "f1": 0.625, "ci95": ci95, "degenerate": 0.02})
}

fn with_scoreboard(run: &Path) {
    let board = json!({"contenders": {
        "base": {"unseen": scores(0.0, [0.0, 0.02])},
        "base+rag": {"unseen": scores(0.84, [0.78, 0.89]), "trained": scores(0.83, [0.77, 0.88])},
        "tuned": {"unseen": scores(0.81, [0.74, 0.86]), "trained": scores(0.95, [0.9, 0.97])},
        "tuned+rag": {"unseen": scores(0.93, [0.88, 0.96])},
    }, "forgetting": {"n_texts": 30, "base_general_perplexity": 12.9, "tuned_general_perplexity": 27.0,
        "n_quiz": 40, "base_quiz_right": 36, "tuned_quiz_right": 31}});
    fs::create_dir_all(folder(run)).unwrap();
    fs::write(folder(run).join("eval.json"), board.to_string()).unwrap();
}

fn reported(run: &Path) -> (Written, String, String) {
    let written = write(run, &folder(run)).unwrap();
    let (markdown, html) =
        (fs::read_to_string(&written.markdown).unwrap(), fs::read_to_string(&written.html).unwrap());
    (written, markdown, html)
}

#[test]
fn a_finished_run_has_its_charts_and_its_numbers_on_both_pages() {
    let runs = tempfile::tempdir().unwrap();
    let run = made(runs.path(), &whole_run());
    with_scoreboard(&run);
    let (written, markdown, html) = reported(&run);
    let names: Vec<_> =
        written.charts.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
    let all = ["loss.png", "loss.svg", "perplexity.png", "perplexity.svg", "recall.png", "recall.svg"];
    assert_eq!(names, all);
    for path in &written.charts {
        let bytes = fs::read(path).unwrap();
        let opening: &[u8] = if path.extension().unwrap() == "png" { b"\x89PNG\r\n\x1a\n" } else { b"<svg " };
        assert!(bytes.starts_with(opening), "{}", path.display());
    }
    let perplexity = fs::read_to_string(folder(&run).join("perplexity.svg")).unwrap();
    assert!(perplexity.contains("before training") && perplexity.contains("logarithmic"));
    let sentence = "After 240 steps the fine-tuned model answers 81 % of the questions in wordings it never saw, \
                    base + RAG 84 %: too close to name a winner; perplexity of general text went from 12.9 to 26.5, \
                    so it has forgotten much.";
    for page in [&markdown, &html] {
        for part in
            [sentence, "4,884,480", "9.8.7", "portable", "c0ffee", "2000-02-29 12:34:56", "12.9", "26.5"]
        {
            assert!(page.contains(part), "{part} is missing in {page}");
        }
        for part in [
            "81 % (74 to 86)",
            "fine-tuned + RAG",
            "perplexity of general text (30 passages)",
            "27.0",
            "right of 40 questions",
            "0.62",
        ] {
            assert!(page.contains(part), "{part} is missing in {page}");
        }
    }
    assert!(markdown.contains("| 240 | 0.2") && markdown.contains("![Loss over steps: "));
    assert!(markdown.contains("`/corpora/the <islands> \\| new`"));
    assert_eq!(html.matches("<svg ").count(), 6);
}

#[test]
fn the_page_in_html_needs_nothing_beside_itself() {
    let runs = tempfile::tempdir().unwrap();
    let run = made(runs.path(), &whole_run());
    let (_, _, html) = reported(&run);
    for outside in ["<script", "<link", "<img", "src=", "url(", "@import"] {
        assert!(!html.contains(outside), "{outside}");
    }
    let addresses: Vec<_> = html.match_indices("http").map(|(at, _)| &html[at..at + 26]).collect();
    assert!(addresses.iter().all(|address| *address == "http://www.w3.org/2000/svg"), "{addresses:?}");
    assert!(html.contains("the &lt;islands&gt; | new") && !html.contains("<islands>"));
    assert!(html.contains("prefers-color-scheme:dark") && html.contains("@media print"));
}

#[test]
fn a_run_without_steps_has_a_report_that_says_so() {
    let runs = tempfile::tempdir().unwrap();
    let run = made(runs.path(), &[]);
    let (written, markdown, html) = reported(&run);
    assert_eq!(written.charts.len(), 4);
    assert!(markdown.contains("**The run has made no step yet.**"), "{markdown}");
    assert!(!markdown.contains("Measurements") && !markdown.contains("Scoreboard"));
    assert!(html.contains("The run has made no step yet.") && !html.contains("<svg"));
    assert!(fs::read_to_string(folder(&run).join("loss.svg")).unwrap().contains("nothing was measured yet"));
    fs::remove_file(run.join("metrics.jsonl")).unwrap();
    assert!(reported(&run).1.contains("no step yet"));
}

#[test]
fn a_run_under_way_is_told_as_far_as_it_came_and_a_cut_off_line_is_left_out() {
    let runs = tempfile::tempdir().unwrap();
    let run = made(runs.path(), &[started(100), eval(0, 3.0, 13.0, (0, 0)), step(1, 2.5), step(2, 2.0)]);
    let mut file = OpenOptions::new().append(true).open(run.join("metrics.jsonl")).unwrap();
    file.write_all(b"{\"event\":\"step\",\"step\":3,\"lo").unwrap();
    let (folder, _) = RunFolder::open(&run).unwrap();
    let _lock = folder.lock().unwrap();
    let (_, markdown, _) = reported(&run);
    assert!(
        markdown.contains("Under way, after 2 of 100 steps, the fine-tuned model answers 0 %"),
        "{markdown}"
    );
    assert!(markdown.contains("running"));
}

#[test]
fn a_run_that_failed_says_why() {
    let runs = tempfile::tempdir().unwrap();
    let failed = TrainEvent::Ended(RunOutcome::Failed("the disk is full; make room".to_owned()));
    let events = [started(100), step(1, 2.5), step(2, f64::NAN), failed];
    let (_, markdown, html) = reported(&made(runs.path(), &events));
    let said = "Failed after 2 of 100 steps (the disk is full; make room): the loss is no number any more";
    assert!(markdown.contains(said) && html.contains(said), "{markdown}");
    let runs = tempfile::tempdir().unwrap();
    let failed = TrainEvent::Ended(RunOutcome::Failed("no memory".to_owned()));
    let (_, markdown, _) = reported(&made(runs.path(), &[failed]));
    assert!(markdown.contains("The run failed before its first step: no memory."), "{markdown}");
}

#[test]
fn the_documents_recipe_is_told_as_it_is() {
    let runs = tempfile::tempdir().unwrap();
    let events =
        [started(2), eval(0, 4.4, 12.9, (0, 0)), step(1, 4.0), step(2, 0.1), eval(2, 2.4, 69.0, (0, 0))];
    let (_, markdown, _) = reported(&made_by(runs.path(), Recipe::Documents, &events));
    let said = "answers 0 % of the questions in wordings it never saw; its validation loss fell all the same, \
                from 4.40 to 2.40; perplexity of general text went from 12.9 to 69.0, so it has forgotten much.";
    assert!(markdown.contains(said), "{markdown}");
}

#[test]
fn what_was_not_measured_is_not_told() {
    let runs = tempfile::tempdir().unwrap();
    let unmeasured = |step: usize| {
        let TrainEvent::Evaluated(report) = eval(step, 0.0, 1.0, (0, 0)) else { unreachable!() };
        TrainEvent::Evaluated(EvalReport { recall: BTreeMap::new(), ..report })
    };
    let done = TrainEvent::Ended(RunOutcome::Completed);
    let events = [started(2), unmeasured(0), step(1, 2.5), step(2, 2.0), unmeasured(2), done];
    let (written, markdown, _) = reported(&made(runs.path(), &events));
    assert_eq!(written.charts.len(), 4, "recall was drawn");
    assert!(markdown.contains("After 2 steps the training loss is 2.2"), "{markdown}");
    assert!(markdown.contains("| 2 | 2.24 | – | – | – |"), "{markdown}");
}

#[test]
fn a_winner_is_named_only_where_the_intervals_are_apart() {
    let said = |tuned: [f64; 2], rag: [f64; 2]| {
        let runs = tempfile::tempdir().unwrap();
        let run = made(runs.path(), &whole_run());
        fs::create_dir_all(folder(&run)).unwrap();
        let of = |ci95: [f64; 2]| json!({"unseen": scores(f64::midpoint(ci95[0], ci95[1]), ci95)});
        let board = json!({"contenders": {"tuned": of(tuned), "base+rag": of(rag)}});
        fs::write(folder(&run).join("eval.json"), board.to_string()).unwrap();
        sentence::of(&read(&run).unwrap())
    };
    assert!(said([0.8, 0.9], [0.5, 0.6]).contains("fine-tuning is ahead"));
    assert!(said([0.1, 0.2], [0.5, 0.6]).contains("retrieval is ahead"));
    assert!(said([0.4, 0.55], [0.5, 0.6]).contains("too close to name a winner"));
}

/// What `lorascope eval` writes beside the scores.
fn with_everything(run: &Path) {
    let spent = |seconds: f64| json!({"seconds": seconds, "cpu_seconds": 2.0 * seconds, "joules": null});
    let arm = |first: f64| json!({"recall_at": {"1": first, "10": 1.0}, "mrr": 0.9, "ndcg_at_10": 0.925});
    let arms = json!({"bm25": arm(0.8), "cosine": arm(0.7), "fused": arm(0.953)});
    let board = json!({
        "contenders": {"base+rag": {"unseen": scores(0.84, [0.78, 0.89])}, "tuned": {"unseen": scores(0.2, [0.1, 0.3])}},
        "comparisons": [{"first": "base+rag", "second": "tuned", "wording": "unseen", "p": 0.0001,
                         "words": "base+rag beats tuned"}],
        "forgetting": {}, "n_parameters": 134_515_008, "checks": ["the adapter is not zero"],
        "retrieval": {"n": 2, "all": arms, "by_wording": {"unseen": arms}, "missed": [
            {"question": "Where was Ada born?", "wording": "unseen", "documents": ["a"], "place": 2, "found": ["b", "a"]}
        ]},
        "cost": {"price_per_hour": 0.36, "training": spent(120.0), "answers": {
            "base+rag": {"n": 10, "seconds": 9.0, "n_prompt_tokens": 2000, "n_tokens": 80},
            "tuned": {"n": 10, "seconds": 4.0, "n_prompt_tokens": 400, "n_tokens": 50}
        }, "indexing": {"n_documents": 64, "n_chunks": 130, "all": spent(5.0), "changed": "a", "n_embedded": 1,
                        "one_changed": spent(0.25)}},
    });
    let answer = |contender: &str, question: &str, text: &str, contains: bool| {
        json!({"contender": contender, "wording": "unseen", "question": question, "gold": ["Cinder Bay"], "text": text,
               "contains": contains, "right_passage": contender == "base+rag"})
    };
    let answers = [
        answer("base+rag", "Where was Ada born?", "In Cinder Bay.", true),
        answer("tuned", "Where was Ada born?", "In Harrow.", false),
        answer("base+rag", "What is Ada's birthplace?", "A town.", false),
        answer("tuned", "What is Ada's birthplace?", "", false),
    ];
    fs::create_dir_all(folder(run)).unwrap();
    fs::write(folder(run).join("eval.json"), board.to_string()).unwrap();
    fs::write(folder(run).join("answers.jsonl"), answers.map(|answer| answer.to_string()).join("\n"))
        .unwrap();
}

#[test]
fn what_was_looked_up_answered_spent_and_checked_is_on_both_pages() {
    let runs = tempfile::tempdir().unwrap();
    let cell = |question: &str| FactCell {
        fact: "f".to_owned(),
        documents: vec!["d".to_owned()],
        statement: String::new(),
        wording: Wording::Unseen,
        question: question.to_owned(),
        answer: "Cinder Bay".to_owned(),
    };
    let read = |step, cell, probability| TrainEvent::FactsRead {
        step,
        cells: vec![CellReading { cell, probability }],
    };
    let listed = TrainEvent::FactsListed(vec![cell("Where <i>was</i> Ada born?"), cell("Whose?")].into());
    let mut events = vec![listed, read(4, 0, 0.9), read(8, 0, 0.25)];
    events.extend(whole_run());
    let run = made(runs.path(), &events);
    with_everything(&run);
    let (_, markdown, html) = reported(&run);
    for page in [&markdown, &html] {
        for part in [
            "95.3 %",
            "0.925",
            "Where was Ada born? (unseen): a was in place 2; found first: b, a",
            "base + RAG alone is right (1 of 2)",
            "both are wrong (1 of 2)",
            "(nothing)",
            "$0.0120",
            "0.900",
            "the adapter is not zero",
            "did not hold",
            "paid back after 230 questions",
            "4.9 of 135 million weights trained (3.6 %)",
            "unseen: 0 of 2 in, 1 lost again, 1 not read",
            "not measured",
        ] {
            assert!(page.contains(part), "{part} is missing in {page}");
        }
    }
    assert!(markdown.contains("```text\n□-\n```"), "{markdown}");
    assert!(
        html.contains("title=\"Where &lt;i&gt;was&lt;/i&gt; Ada born? Cinder Bay (25.0 % at step 8)\">□</i>"),
        "{html}"
    );
}

#[test]
fn a_run_of_a_task_tells_who_did_it_how_well() {
    let runs = tempfile::tempdir().unwrap();
    let run = made_by(runs.path(), Recipe::Style, &whole_run());
    let score = |contender: &str, right: f64, text: &str| {
        json!({"contender": contender, "n": 40, "right": right, "ci95": [right / 2.0, right], "answers": [
            {"asked": "Describe the sea.", "expected": "Hark, the sea!", "text": text, "right": right > 0.5}
        ]})
    };
    let short = |right: f64| json!({"unseen": {"n": 40, "contains": right, "ci95": [right, right]}});
    let task = json!({"task": "style", "contenders": {"base": short(0.0), "tuned": short(1.0)},
                      "forgetting": {"n_quiz": 100, "base_quiz_right": 62, "tuned_quiz_right": 16}, "checks": ["none of 40 held-out examples is trained on"]});
    fs::create_dir_all(folder(&run)).unwrap();
    fs::write(folder(&run).join("task.json"), task.to_string()).unwrap();
    let lines = [score("base", 0.0, "It is wet."), score("tuned", 1.0, "Hark, the waves!")];
    fs::write(folder(&run).join("task_answers.jsonl"), lines.map(|line| line.to_string()).join("\n"))
        .unwrap();
    let (_, markdown, html) = reported(&run);
    for page in [&markdown, &html] {
        for part in [
            "at least 4 of the 5 features",
            "50 to 100 %",
            "✗ It is wet.",
            "✓ Hark, the waves!",
            "right of 100 questions",
        ] {
            assert!(page.contains(part), "{part} is missing in {page}");
        }
    }
    assert!(markdown.contains("| held | tuned 100 % (91 to 100), base 0 % (0 to 9) |"), "{markdown}");
}

#[test]
fn a_damaged_scoreboard_is_an_error_that_names_it() {
    let runs = tempfile::tempdir().unwrap();
    let run = made(runs.path(), &whole_run());
    fs::create_dir_all(folder(&run)).unwrap();
    for damaged in ["{", r#"{"contenders": {"base": {"unseen": {"n": 3}}}}"#] {
        fs::write(folder(&run).join("eval.json"), damaged).unwrap();
        let error = write(&run, &folder(&run)).unwrap_err().to_string();
        assert!(error.contains("eval.json") && error.contains("lorascope eval"), "{error}");
    }
}

#[test]
fn a_report_goes_where_it_is_told_to() {
    let runs = tempfile::tempdir().unwrap();
    let run = made(runs.path(), &whole_run());
    let out = runs.path().join("elsewhere").join("deep");
    let written = write(&run, &out).unwrap();
    assert!(written.markdown.starts_with(&out) && written.charts.iter().all(|path| path.is_file()));
    assert!(!folder(&run).exists());
    assert!(write(runs.path(), &out).unwrap_err().to_string().contains("no run here"));
}
