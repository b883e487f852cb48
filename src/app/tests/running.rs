//! Does a run begin, pause and end as it should, and the lab with it?

use super::*;

#[test]
fn space_starts_pauses_and_goes_on() {
    let mut app = ready();
    assert_eq!(said(&keys(&mut app, " ")), ["train qa"]);
    assert_eq!(said(&keys(&mut app, " ")), [""; 0], "nothing can be paused before the run has begun");
    let mut app = training();
    assert_eq!(said(&keys(&mut app, " ")), ["Pause"]);
    train(&mut app, TrainEvent::Paused);
    assert_eq!(*stage(&app), Stage::Paused);
    assert_eq!(said(&keys(&mut app, " ")), ["Resume"]);
    train(&mut app, TrainEvent::Resumed);
    assert_eq!(*stage(&app), Stage::Training);
}

#[test]
fn a_run_wished_for_too_early_starts_when_all_is_there() {
    let mut app = app();
    assert_eq!(said(&app.start()), ["prepare"]);
    assert_eq!(said(&keys(&mut app, " ")), [""; 0]);
    let effects = index(
        &mut app,
        IndexEvent::Ready {
            corpus: "c".into(),
            n_documents: 1,
            n_chunks: 1,
            n_facts: 1,
            suggestions: vec![],
        },
    );
    assert_eq!(said(&effects), ["train qa"]);
}

#[test]
fn quitting_asks_while_a_run_is_on_and_not_otherwise() {
    assert_eq!(said(&keys(&mut ready(), "q")), ["Quit"]);
    let mut app = training();
    assert_eq!(said(&keys(&mut app, "q")), [""; 0]);
    assert_eq!(said(&keys(&mut app, "<Esc>")), [""; 0]);
    assert!(app.dialog.is_none());
    assert_eq!(said(&keys(&mut app, "qq")), ["Cancel", "Quit"]);
}

#[test]
fn save_and_quit_waits_for_the_end_of_the_run() {
    let mut app = training();
    assert_eq!(said(&keys(&mut app, "qs")), ["StopAndSave"]);
    assert_eq!(said(&train(&mut app, step(2))), [""; 0]);
    assert_eq!(said(&train(&mut app, TrainEvent::Ended(RunOutcome::Completed))), ["Quit"]);
}

#[test]
fn ctrl_c_leaves_at_once_from_anywhere() {
    let mut app = training();
    keys(&mut app, "iWho?<Enter>i");
    assert_eq!(said(&keys(&mut app, "<C-c>")), ["cancel 1", "Cancel", "Interrupted"]);
    let mut app = training();
    keys(&mut app, "?");
    assert_eq!(said(&keys(&mut app, "<C-c>")), ["Cancel", "Interrupted"]);
    let mut app = self::app();
    index(&mut app, IndexEvent::Fetch(FetchEvent::Trying { model: "m".into(), source: "hub".into() }));
    assert_eq!(said(&keys(&mut app, "q")), ["cancel fetch", "Quit"]);
}

#[test]
fn s_stops_once() {
    let mut app = training();
    assert_eq!(said(&keys(&mut app, "ss s")), ["StopAndSave"]);
    assert_eq!(*stage(&app), Stage::Stopping);
}

#[test]
fn the_recipe_is_chosen_before_a_run_and_not_during_one() {
    let mut app = ready();
    keys(&mut app, "r<Down><Enter>");
    assert_eq!(said(&keys(&mut app, " ")), ["train documents"]);
    keys(&mut app, "r");
    assert!(app.dialog.is_none() && app.notice.is_some());
}

#[test]
fn failures_are_dialogs_that_name_the_way_out() {
    let mut app = training();
    train(&mut app, TrainEvent::Saved { step: 1, spent: crate::meter::Spent::NOTHING });
    train(&mut app, TrainEvent::Ended(RunOutcome::Failed("the disk is full".into())));
    let Some(Dialog::Error(trouble)) = &app.dialog else { panic!("no dialog") };
    assert_eq!(trouble.cause, "the disk is full");
    assert!(trouble.way_out.contains("--resume --run runs/1"), "{}", trouble.way_out);
    keys(&mut app, "<Esc>");
    assert_eq!(said(&keys(&mut app, " ")), ["train qa"]);

    let mut app = self::app();
    index(&mut app, IndexEvent::Failed("no network".into()));
    assert_eq!(said(&keys(&mut app, "r")), ["prepare"]);
    assert!(app.dialog.is_none() && app.preparation.failed.is_none());
}

#[test]
fn once_its_dialog_is_closed_a_failed_preparation_can_still_be_tried_again() {
    let mut app = app();
    keys(&mut app, "iWho?<Enter>");
    for key in [" ", "r"] {
        index(&mut app, IndexEvent::Failed("facts.jsonl:3: no JSON".into()));
        keys(&mut app, "<Esc>");
        assert!(app.dialog.is_none() && app.preparation.failed.is_some());
        assert_eq!(said(&keys(&mut app, key)), ["prepare"]);
        assert!(app.dialog.is_none() && app.preparation.failed.is_none() && !app.wants_run);
        assert_eq!(said(&keys(&mut app, "<Esc>r<Esc>")), [""; 0], "it is being tried");
        keys(&mut app, "iWho?<Enter>");
    }
    assert_eq!(said(&index(&mut app, all_ready())), ["ask Who? [base+rag base]"]);
}

#[test]
fn changed_documents_that_cannot_be_read_are_named_once() {
    let kept = |cause: Option<&str>| IndexEvent::Kept(cause.map(str::to_owned));
    let mut app = ready();
    index(&mut app, IndexEvent::Indexing { done: 3, total: 40 });
    assert_eq!(app.preparation.indexing, Some((3, 40)));
    index(&mut app, kept(None));
    assert!(app.preparation.indexing.is_none() && app.dialog.is_none(), "given up");
    keys(&mut app, "i");
    index(&mut app, kept(Some("facts.jsonl:3: no JSON")));
    assert!(app.dialog.is_none() && app.notice.is_some(), "whoever writes is not disturbed");
    keys(&mut app, "<Esc>");
    index(&mut app, kept(Some("facts.jsonl:3: no JSON")));
    let Some(Dialog::Error(trouble)) = &app.dialog else { panic!("no dialog") };
    assert_eq!(trouble.cause, "facts.jsonl:3: no JSON");
    keys(&mut app, "<Esc>");
    index(&mut app, kept(Some("facts.jsonl:3: no JSON")));
    assert!(app.dialog.is_none() && app.preparation.outdated.is_some());
    index(&mut app, kept(Some("facts.jsonl:9: no JSON")));
    assert!(app.dialog.is_some(), "another fault");
    keys(&mut app, "<Esc>");
    index(&mut app, IndexEvent::Current);
    assert!(app.preparation.outdated.is_none(), "they are as they were");
    index(&mut app, kept(Some("facts.jsonl:9: no JSON")));
    assert!(app.dialog.is_some(), "again");
}

#[test]
fn a_dead_worker_ends_what_it_was_doing_and_nothing_else() {
    let mut app = training();
    keys(&mut app, "iWho?<Enter>");
    app.update(Event::Worker(WorkerEvent::Died { worker: "answerer", cause: "index out of range".into() }));
    assert!(!app.is_answering() && app.run_is_on() && app.dialog.is_some());
    index(&mut app, IndexEvent::Indexing { done: 1, total: 2 });
    app.update(Event::Worker(WorkerEvent::Died { worker: "answerer", cause: "again".into() }));
    assert!(app.preparation.indexing.is_none());
    app.update(Event::Worker(WorkerEvent::Died { worker: "trainer", cause: "oh".into() }));
    assert!(!app.run_is_on());
}
