//! Does the app do what it should? Scripts: keys and events in, state and effects out.

use super::*;
use crate::train::{RunOutcome, StepReport, TrainEvent};
use crate::worker::{AnswerEvent, FetchEvent, IndexEvent};

fn order(recipe: &str) -> TrainOrder {
    TrainOrder { recipe: recipe.into(), epochs: 8.0, rank: 16, alpha: 32.0, lr: 1e-3, batch: 16, seed: 1 }
}

fn app() -> App {
    App::new(Setup {
        model: "smollm2-135m-instruct".into(),
        corpus: "sample".into(),
        recipes: vec![order("qa"), order("documents")],
        log: None,
        look: Look::Dark,
    })
}

fn ready() -> App {
    let mut app = app();
    index(
        &mut app,
        IndexEvent::Ready {
            corpus: "sample".into(),
            n_documents: 64,
            n_chunks: 130,
            n_facts: 160,
            suggestions: vec!["Who keeps the light?".into(), "Where is the ferry?".into()],
        },
    );
    app
}

/// Presses keys as a script names them: `<Enter>` and the like, else characters.
fn keys(app: &mut App, script: &str) -> Vec<Effect> {
    let mut effects = Vec::new();
    let mut rest = script;
    while let Some(first) = rest.chars().next() {
        let (name, after) = match rest.strip_prefix('<').and_then(|named| named.split_once('>')) {
            Some((name, after)) => (name, after),
            None => rest.split_at(first.len_utf8()),
        };
        let key = match name {
            "Enter" => Key::Enter,
            "Esc" => Key::Esc,
            "Tab" => Key::Tab,
            "S-Tab" => Key::BackTab,
            "Up" => Key::Up,
            "Down" => Key::Down,
            "Left" => Key::Left,
            "Right" => Key::Right,
            "PgDn" => Key::PageDown,
            "PgUp" => Key::PageUp,
            "C-c" => Key::Ctrl('c'),
            "C-w" => Key::Ctrl('w'),
            "C-u" => Key::Ctrl('u'),
            _ => Key::Char(first),
        };
        effects.extend(app.update(Event::Pressed(key)));
        rest = after;
    }
    effects
}

fn train(app: &mut App, event: TrainEvent) -> Vec<Effect> {
    app.update(Event::Worker(WorkerEvent::Train(event)))
}

fn index(app: &mut App, event: IndexEvent) -> Vec<Effect> {
    app.update(Event::Worker(WorkerEvent::Index(event)))
}

fn answer(app: &mut App, id: u64, contender: Contender, event: AnswerEvent) {
    app.update(Event::Worker(WorkerEvent::Answer { id: AskId(id), contender, event }));
}

fn step(step: usize) -> TrainEvent {
    TrainEvent::Stepped(StepReport {
        step,
        epoch: step as f64 / 60.0,
        loss: 3.0 / step as f64,
        perplexity: 1.0,
        lr: 1e-3,
        grad_norm: 0.4,
        n_tokens: 900,
        tokens_per_s: 2000.0,
        elapsed_s: step as f64 * 0.4,
    })
}

fn training() -> App {
    let mut app = ready();
    keys(&mut app, " ");
    train(
        &mut app,
        TrainEvent::Started { n_steps: 480, first_step: 0, n_trainable: 4_900_000, run: "runs/1".into() },
    );
    train(&mut app, step(1));
    app
}

fn stage(app: &App) -> &Stage {
    &app.run.as_ref().unwrap().stage
}

/// The effects, in short.
fn said(effects: &[Effect]) -> Vec<String> {
    let short = |effect: &Effect| match effect {
        Effect::Prepare => "prepare".to_owned(),
        Effect::Train(order) => format!("train {}", order.recipe),
        Effect::Control(control) => format!("{control:?}"),
        Effect::Ask(order) => {
            let names: Vec<_> = order.contenders.iter().map(|contender| contender.name()).collect();
            format!("ask {} [{}]", order.question, names.join(" "))
        }
        Effect::CancelAsk(id) => format!("cancel {}", id.0),
        Effect::CancelFetch => "cancel fetch".to_owned(),
        Effect::JudgeClaims => "judge claims".to_owned(),
        Effect::Quit(goodbye) => format!("{goodbye:?}"),
    };
    effects.iter().map(short).collect()
}

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
fn a_question_typed_too_early_is_asked_when_all_is_there() {
    let mut app = app();
    assert_eq!(said(&keys(&mut app, "iWho?<Enter>")), [""; 0]);
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
    assert_eq!(said(&effects), ["ask Who? [base+rag base]"]);
}

#[test]
fn before_training_the_base_model_answers_on_the_right() {
    let mut app = ready();
    assert_eq!(said(&keys(&mut app, "/Who is it?<Enter>")), ["ask Who is it? [base+rag base]"]);
    assert!(!app.editing, "after Enter the keys are the lab's again");
    train(&mut app, TrainEvent::Published { step: 60, adapter: Arc::new(adapter()) });
    let effects = keys(&mut app, "i<Up><Enter>");
    assert_eq!(said(&effects), ["ask Who is it? [base+rag tuned]"]);
    let Effect::Ask(order) = &effects[0] else { panic!("not an ask") };
    assert_eq!(order.adapter.as_ref().unwrap().0, 60);
    assert_eq!(app.asked[1].sides[1].step, Some(60));
    assert_eq!(app.asked[1].sides[0].step, None, "retrieval does not know the adapter");
}

#[test]
fn keys_of_the_lab_are_letters_in_the_ask_line() {
    let mut app = training();
    assert_eq!(said(&keys(&mut app, "iq s? z")), [""; 0]);
    assert_eq!(app.line.text(), "q s? z");
    assert!(app.dialog.is_none());
    keys(&mut app, "<Esc>");
    assert_eq!(app.line.text(), "q s? z", "Esc leaves what was typed");
    keys(&mut app, "z");
    assert_eq!(app.view, View::Zoom);
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
fn escape_goes_back_step_by_step_then_gives_up_the_answer() {
    let mut app = ready();
    keys(&mut app, "iWho?<Enter>zi");
    answer(&mut app, 1, Contender::BaseRag, AnswerEvent::Streamed("Wait".into()));
    assert_eq!(said(&keys(&mut app, "<Esc>")), [""; 0]);
    assert!(!app.editing && app.view == View::Zoom);
    assert_eq!(said(&keys(&mut app, "<Esc>")), [""; 0]);
    assert_eq!(app.view, View::Lab);
    assert_eq!(said(&keys(&mut app, "<Esc>")), ["cancel 1"]);
    assert_eq!(said(&keys(&mut app, "<Esc>")), [""; 0]);
    assert_eq!(app.asked[0].sides[0].text, "Wait");
}

#[test]
fn a_newer_question_waits_until_the_one_shown_is_done_and_not_being_read() {
    let mut app = ready();
    keys(&mut app, "iOne?<Enter>iTwo?<Enter>");
    assert_eq!(app.question().unwrap().question, "One?");
    for contender in [Contender::BaseRag, Contender::Base] {
        answer(&mut app, 1, contender, AnswerEvent::Failed("no".into()));
    }
    assert_eq!(app.question().unwrap().question, "One?");
    answer(&mut app, 2, Contender::BaseRag, AnswerEvent::Streamed("T".into()));
    assert_eq!(app.question().unwrap().question, "Two?");
    keys(&mut app, "iThree?<Enter>");
    app.asked[1].sides[0].scroll = 2;
    for contender in [Contender::BaseRag, Contender::Base] {
        answer(&mut app, 2, contender, AnswerEvent::Failed("no".into()));
    }
    answer(&mut app, 3, Contender::BaseRag, AnswerEvent::Streamed("T".into()));
    assert_eq!(app.question().unwrap().question, "Two?", "it is being read");
    keys(&mut app, "<Right><Right><Left><Left><Left>");
    assert_eq!(app.question().unwrap().question, "One?");
}

#[test]
fn suggestions_are_asked_by_their_number_while_they_are_shown() {
    let mut app = ready();
    assert_eq!(said(&keys(&mut app, "3")), [""; 0]);
    assert_eq!(said(&keys(&mut app, "2")), ["ask Where is the ferry? [base+rag base]"]);
    assert_eq!(said(&keys(&mut app, "1")), [""; 0]);
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
fn a_dead_worker_ends_what_it_was_doing_and_nothing_else() {
    let mut app = training();
    keys(&mut app, "iWho?<Enter>");
    app.update(Event::Worker(WorkerEvent::Died { worker: "answerer", cause: "index out of range".into() }));
    assert!(!app.is_answering() && app.run_is_on() && app.dialog.is_some());
    app.update(Event::Worker(WorkerEvent::Died { worker: "trainer", cause: "oh".into() }));
    assert!(!app.run_is_on());
}

#[test]
fn c_changes_who_answers_on_the_right_and_asks_again() {
    let mut app = training();
    assert_eq!(said(&keys(&mut app, "c")), [""; 0]);
    train(&mut app, TrainEvent::Published { step: 1, adapter: Arc::new(adapter()) });
    assert_eq!(said(&keys(&mut app, "iWho?<Enter>")), ["ask Who? [base+rag tuned]"]);
    for contender in [Contender::BaseRag, Contender::Tuned] {
        answer(&mut app, 1, contender, AnswerEvent::Failed("no".into()));
    }
    assert_eq!(said(&keys(&mut app, "c")), ["ask Who? [base+rag tuned+rag]"]);
    assert_eq!(app.question().unwrap().id, AskId(2));
}

#[test]
fn claims_are_looked_at_anew_each_time_and_chosen_with_the_arrows() {
    let mut app = ready();
    assert!(matches!(keys(&mut app, "a")[..], [Effect::JudgeClaims]));
    app.update(Event::Worker(WorkerEvent::ClaimsJudged(Ok(crate::lab::claims::judged(&[])))));
    keys(&mut app, "<Down><Down><Up>");
    assert_eq!((app.view, app.claim), (View::Claims, 1));
    app.update(Event::Drawn(Reach { lines: 3, page: 10 }));
    keys(&mut app, "<PgDn>");
    assert_eq!((app.claim, app.claim_scroll), (1, 3));
    keys(&mut app, "<Down>");
    assert_eq!((app.claim, app.claim_scroll), (2, 0));
    assert!(keys(&mut app, "a").is_empty());
    assert_eq!(app.view, View::Lab);
    assert!(matches!(keys(&mut app, "a")[..], [Effect::JudgeClaims]));
    keys(&mut app, "<Esc>");
    assert_eq!(app.view, View::Lab);
}

#[test]
fn about_a_fact_everybody_is_asked_and_the_board_stays() {
    let mut app = training();
    let cell = crate::train::facts::FactCell {
        fact: "f".to_owned(),
        documents: vec!["d".to_owned()],
        statement: String::new(),
        wording: crate::corpus::Wording::Unseen,
        question: "Who keeps it?".to_owned(),
        answer: "Ada".to_owned(),
    };
    train(&mut app, TrainEvent::FactsListed(vec![cell].into()));
    train(&mut app, TrainEvent::Published { step: 1, adapter: Arc::new(adapter()) });
    let effects = keys(&mut app, "f<Enter>");
    let [Effect::Ask(order)] = &effects[..] else { unreachable!("{effects:?}") };
    let asked: std::collections::BTreeSet<Contender> = order.contenders.iter().copied().collect();
    assert_eq!((order.question.as_str(), asked.len()), ("Who keeps it?", Contender::ALL.len()));
    assert_eq!((app.view, order.contenders[0]), (View::Facts, Contender::BaseRag));
    answer(&mut app, order.id.0, Contender::TunedRag, AnswerEvent::Streamed("Ada".into()));
    let said: Vec<&str> = app.question().unwrap().everybody().map(|side| side.text.as_str()).collect();
    assert_eq!(said.iter().filter(|text| **text == "Ada").count(), 1);
    // The lab shows the same question's two sides.
    keys(&mut app, "<Esc>");
    assert_eq!(app.view, View::Lab);
}

#[test]
fn scrolling_never_goes_beyond_the_text() {
    let mut app = ready();
    keys(&mut app, "iWho?<Enter>");
    app.update(Event::Drawn(Reach { lines: 7, page: 5 }));
    keys(&mut app, "<PgDn><PgDn><PgDn>");
    assert_eq!(app.asked[0].sides[0].scroll, 7);
    keys(&mut app, "<Up><PgUp>");
    assert_eq!(app.asked[0].sides[0].scroll, 2);
    keys(&mut app, "?<PgDn>");
    assert_eq!((app.dialog_scroll, app.asked[0].sides[0].scroll), (4, 2));
}

#[test]
fn tab_goes_round_and_leaves_the_ask_line() {
    let mut app = ready();
    let mut seen = vec![app.focus];
    for _ in 0..4 {
        keys(&mut app, "<Tab>");
        seen.push(app.focus);
    }
    assert_eq!(seen, [Pane::Loss, Pane::Perplexity, Pane::Left, Pane::Right, Pane::Loss]);
    keys(&mut app, "<S-Tab>i");
    assert!(app.editing);
    keys(&mut app, "<Tab>");
    assert!(!app.editing);
}

#[test]
fn pasted_text_goes_to_the_ask_line_but_not_through_a_dialog() {
    let mut app = ready();
    app.update(Event::Pasted("Who\nis it?".into()));
    assert!(app.editing && app.line.text() == "Who is it?");
    let mut app = training();
    keys(&mut app, "q");
    app.update(Event::Pasted("s".into()));
    assert_eq!((app.line.text(), app.run_is_on(), app.leaving), ("", true, false));
}

#[test]
fn notices_go_with_time() {
    let mut app = ready();
    keys(&mut app, "t");
    assert!(app.look() == Look::Light && app.notice.is_some() && app.is_live());
    app.update(Event::Ticked(Duration::from_secs(5)));
    assert!(app.notice.is_none() && !app.is_live());
}

#[test]
fn ten_thousand_events_leave_a_sound_and_small_state() {
    let mut app = training();
    let mut seed = 7_u64;
    let pool = [' ', 'i', 'a', 's', 'z', 'p', 't', '?', 'd', 'r', 'c', 'x', '1'];
    for n in 2..=10_000_usize {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let pick = (seed >> 33) as usize;
        match pick % 5 {
            0 => drop(train(&mut app, step(n))),
            1 => drop(keys(&mut app, "<Enter>")),
            2 => drop(keys(&mut app, ["<Esc>", "<Tab>", "<PgDn>", "<Up>", "<C-w>"][pick / 5 % 5])),
            3 => answer(
                &mut app,
                (pick / 5 % 50) as u64,
                Contender::BaseRag,
                AnswerEvent::Streamed("ab ".into()),
            ),
            _ => drop(app.update(Event::Pressed(Key::Char(pool[pick / 5 % pool.len()])))),
        }
    }
    assert!(app.asked.len() <= 100 && app.shown < app.asked.len().max(1));
    assert!(app.run.as_ref().unwrap().loss.whole().len() <= 2048);
}

pub(crate) fn adapter() -> Adapter {
    Adapter::empty(crate::model::lora::LoraConfig::default(), "m", 0)
}
