//! Does each verdict follow from its rule?

use serde_json::json;

use super::*;
use crate::lab::{Answering, Contender, Cost, IndexingCost};
use crate::meter::Spent;
use crate::run::RunState;
use crate::train::Recipe;

fn spent(seconds: f64) -> Spent {
    Spent { seconds, ..Spent::NOTHING }
}

fn share(count: usize, n: usize) -> Share {
    Share { count, n }
}

fn qa(run: &str, tuned: usize, rag: usize, p: f64) -> Evidence {
    Evidence {
        run: run.to_owned(),
        recipe: Some(Recipe::Qa),
        about: "qa".to_owned(),
        ground: format!("qa of {run}"),
        unseen: [(Contender::Tuned, share(tuned, 100)), (Contender::BaseRag, share(rag, 100))].into(),
        p_against_rag: Some(p),
        gibberish: Some(share(2, 100)),
        general: Some([30.0, 60.0]),
        quiz: Some([share(60, 100), share(55, 100)]),
        weights: Some((5_000_000, 135_000_000)),
        training: Some(spent(600.0)),
        ..Evidence::default()
    }
}

fn verdict(runs: &[Evidence], claim: Claim) -> Option<Borne> {
    judged(runs).into_iter().find(|judged| judged.claim == claim).unwrap().verdict
}

#[test]
fn runs_that_disagree_make_a_claim_depend() {
    let (poor, good) = (qa("a", 10, 80, 0.0001), qa("b", 92, 75, 0.001));
    assert_eq!(verdict(std::slice::from_ref(&poor), Claim::Facts), Some(Borne::Held));
    assert_eq!(verdict(std::slice::from_ref(&good), Claim::Facts), Some(Borne::NotHeld));
    let both = [poor, good];
    assert_eq!(verdict(&both, Claim::Facts), Some(Borne::Depends));
    assert_eq!(verdict(&both, Claim::Retrieval), Some(Borne::Depends));
    let of_facts = &judged(&both)[0];
    assert_eq!(of_facts.findings[0].run, "b", "the newest first");
    assert_eq!(of_facts.findings[1].measured, "10 % (6 to 17) of unseen wordings");
    assert_eq!(verdict(&both, Claim::Style), None);
    assert_eq!(verdict(&[], Claim::Facts), None);
}

#[test]
fn of_runs_with_the_same_settings_the_newest_counts() {
    let old = Evidence { ground: "qa".to_owned(), ..qa("old", 10, 80, 0.001) };
    let new = Evidence { ground: "qa".to_owned(), ..qa("new", 92, 75, 0.001) };
    let judged = judged(&[old, new]);
    assert_eq!(judged[0].verdict, Some(Borne::NotHeld));
    assert_eq!(judged[0].findings.len(), 1);
}

#[test]
fn a_newer_run_that_shows_nothing_hides_no_older_one() {
    let old = Evidence { ground: "qa".to_owned(), ..qa("old", 10, 80, 0.001) };
    let begun = Evidence {
        run: "new".to_owned(),
        recipe: Some(Recipe::Qa),
        ground: "qa".to_owned(),
        ..Evidence::default()
    };
    assert_eq!(verdict(&[old.clone(), begun], Claim::Facts), Some(Borne::Held));
    // Another model's run is no repetition.
    let of_another = Evidence { ground: "another".to_owned(), ..qa("new", 92, 75, 0.001) };
    assert_eq!(verdict(&[old, of_another], Claim::Facts), Some(Borne::Depends));
}

#[test]
fn the_last_measurement_but_one_is_not_the_end() {
    let started = json!({"event": "started", "n_steps": 20});
    let eval = json!({"event": "eval", "step": 10, "recall": {"unseen": 0.5}, "asked": {"unseen": 24}});
    let mut evidence = Evidence::default();
    evidence.on_the_way(&[started, eval], RunState::Completed);
    assert!(evidence.unseen.is_empty());
}

#[test]
fn each_rule_is_kept_to() {
    let run = qa("a", 50, 52, 0.7);
    assert_eq!(verdict(std::slice::from_ref(&run), Claim::Facts), Some(Borne::Depends));
    assert_eq!(verdict(std::slice::from_ref(&run), Claim::Retrieval), Some(Borne::Depends));
    assert_eq!(verdict(std::slice::from_ref(&run), Claim::Gibberish), Some(Borne::NotHeld));
    assert_eq!(verdict(std::slice::from_ref(&run), Claim::Forgetting), Some(Borne::Held));
    assert_eq!(verdict(std::slice::from_ref(&run), Claim::Savings), Some(Borne::Held));
    assert_eq!(verdict(std::slice::from_ref(&run), Claim::Money), None, "nothing was measured of it");
    let kept = Evidence { general: Some([30.0, 30.5]), ..run.clone() };
    assert_eq!(verdict(&[kept], Claim::Forgetting), Some(Borne::NotHeld));
    let lost = Evidence { general: Some([30.0, 30.5]), quiz: Some([share(60, 100), share(20, 100)]), ..run };
    assert_eq!(verdict(&[lost], Claim::Forgetting), Some(Borne::Held));
}

#[test]
fn a_task_is_won_where_intervals_are_apart() {
    let task = |base, shots, tuned| Evidence {
        recipe: Some(Recipe::Style),
        unseen: [
            (Contender::Base, share(base, 40)),
            (Contender::BaseRag, share(shots, 40)),
            (Contender::Tuned, share(tuned, 40)),
        ]
        .into(),
        ..Evidence::default()
    };
    assert_eq!(verdict(&[task(0, 14, 40)], Claim::Style), Some(Borne::Held));
    assert_eq!(verdict(&[task(20, 25, 28)], Claim::Style), Some(Borne::Depends));
    assert_eq!(verdict(&[task(30, 25, 28)], Claim::Style), Some(Borne::NotHeld));
    assert_eq!(verdict(&[task(0, 14, 40)], Claim::Facts), None);
}

#[test]
fn training_is_paid_back_by_shorter_prompts_or_never() {
    let answers = |rag: f64, tuned: f64| {
        let of = |seconds| Answering { n: 10, seconds, ..Answering::default() };
        [(Contender::BaseRag, of(rag)), (Contender::Tuned, of(tuned))].into()
    };
    let with = |answers, training| {
        let indexing = IndexingCost {
            n_documents: 2,
            n_chunks: 4,
            all: spent(10.0),
            changed: "a".to_owned(),
            n_embedded: 1,
            one_changed: spent(0.5),
        };
        let cost = Cost { price_per_hour: 0.36, training: None, indexing: Some(indexing), answers };
        Evidence { cost: Some(cost), training: Some(spent(training)), ..qa("a", 90, 80, 0.01) }
    };
    let run = with(answers(10.0, 5.0), 610.0);
    let judged = judged(std::slice::from_ref(&run));
    let money = judged.iter().find(|judged| judged.claim == Claim::Money).unwrap();
    // 600 s more in advance, half a second less each time.
    assert_eq!(
        money.findings[0].measured,
        "training $0.0610, index $0.0010 at $0.36 an hour; an answer 1.0 s with retrieval, 0.50 s tuned: paid back \
         after 1200 questions"
    );
    assert_eq!(money.verdict, Some(Borne::Held));
    assert_eq!(verdict(&[with(answers(5.0, 10.0), 610.0)], Claim::Money), Some(Borne::Held));
    assert_eq!(verdict(&[with(answers(10.0, 5.0), 12.0)], Claim::Money), Some(Borne::NotHeld));
    assert_eq!(verdict(&[with(answers(10.0, 5.0), 110.0)], Claim::Money), Some(Borne::Depends));
    assert_eq!(verdict(std::slice::from_ref(&run), Claim::Update), Some(Borne::Held));
    assert_eq!(verdict(&[with(answers(1.0, 1.0), 2.0)], Claim::Update), Some(Borne::Depends));
}

#[test]
fn a_run_on_its_way_bears_out_nothing_yet() {
    let eval = |step, share, perplexity| {
        json!({"event": "eval", "step": step, "recall": {"unseen": share}, "asked": {"unseen": 24},
               "general_perplexity": perplexity})
    };
    let checkpoint = json!({"event": "checkpoint", "step": 20, "elapsed_s": 60.0, "cpu_s": 110.0});
    let started = json!({"event": "started", "n_steps": 20});
    let metrics = [started, eval(0, 0.0, 28.0), checkpoint, eval(20, 0.25, 29.0)];
    let known = |state| {
        let mut evidence = Evidence::default();
        evidence.on_the_way(&metrics, state);
        evidence
    };
    for state in [RunState::Running, RunState::Unfinished, RunState::Cancelled, RunState::Failed] {
        let evidence = known(state);
        assert_eq!((evidence.unseen.len(), evidence.general), (0, None), "{state:?}");
        assert!(evidence.training.is_some(), "what it took is known");
    }
    let ended = known(RunState::Completed);
    assert_eq!(ended.unseen[&Contender::Tuned], share(6, 24));
    assert_eq!(ended.general, Some([28.0, 29.0]));
}
