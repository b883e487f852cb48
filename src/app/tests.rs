//! Does the app do what it should? Scripts: keys and events in, state and effects out.

mod asking;
mod running;

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
        colourless: None,
    })
}

fn ready() -> App {
    let mut app = app();
    index(&mut app, all_ready());
    app
}

fn all_ready() -> IndexEvent {
    IndexEvent::Ready {
        corpus: "sample".into(),
        n_documents: 64,
        n_chunks: 130,
        n_facts: 160,
        suggestions: vec!["Who keeps the light?".into(), "Where is the ferry?".into()],
    }
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
            "Home" => Key::Home,
            "End" => Key::End,
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
fn claims_are_looked_at_anew_each_time_and_chosen_with_the_arrows() {
    let mut app = ready();
    assert!(matches!(keys(&mut app, "a")[..], [Effect::JudgeClaims]));
    app.update(Event::Worker(WorkerEvent::ClaimsJudged(Ok(crate::lab::claims::judged(&[])))));
    keys(&mut app, "<Down><Down><Up>");
    assert_eq!((app.view, app.claim), (View::Claims, 1));
    app.update(Event::Drawn(Some(Reach { lines: 3, page: 10 })));
    keys(&mut app, "<PgDn>");
    assert_eq!((app.claim, app.claim_scroll), (1, 3));
    keys(&mut app, "<Down>");
    assert_eq!((app.claim, app.claim_scroll), (2, 0));
    keys(&mut app, "<End>");
    assert_eq!(app.claim, crate::lab::claims::Claim::ALL.len() - 1);
    keys(&mut app, "<Home>");
    assert_eq!(app.claim, 0);
    assert!(keys(&mut app, "a").is_empty());
    assert_eq!(app.view, View::Lab);
    assert!(matches!(keys(&mut app, "a")[..], [Effect::JudgeClaims]));
    keys(&mut app, "<Esc>");
    assert_eq!(app.view, View::Lab);
}

#[test]
fn scrolling_never_goes_beyond_the_text() {
    let mut app = ready();
    keys(&mut app, "iWho?<Enter>");
    app.update(Event::Drawn(Some(Reach { lines: 7, page: 5 })));
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
fn notices_go_with_time() {
    let mut app = ready();
    keys(&mut app, "t");
    assert!(app.look() == Look::Light && app.notice.is_some() && app.is_live());
    app.update(Event::Ticked(Duration::from_secs(5)));
    assert!(app.notice.is_none() && !app.is_live());
}

#[test]
fn where_there_are_no_colours_none_are_promised() {
    let mut app = ready();
    app.setup.colourless = Some("NO_COLOR is set");
    keys(&mut app, "t");
    assert_eq!(app.look(), Look::Dark);
    assert_eq!(app.notice.as_ref().unwrap().0, "no colours: NO_COLOR is set");
}

#[test]
fn keys_that_cannot_do_anything_say_so() {
    for key in ["s", "9", "3"] {
        let mut app = ready();
        assert_eq!(said(&keys(&mut app, key)), [""; 0]);
        assert_eq!(app.notice.is_some(), key != "9", "{key}");
    }
    let mut app = ready();
    keys(&mut app, "1");
    assert!(app.notice.is_none() && app.asked.len() == 1);
    keys(&mut app, "1");
    assert!(app.notice.is_some() && app.asked.len() == 1);
}

#[test]
fn what_nobody_sees_no_key_does() {
    let mut app = training();
    app.update(Event::Drawn(None));
    assert_eq!(said(&keys(&mut app, " siWho?<Enter>r?")), [""; 0]);
    app.update(Event::Pasted("Who?".into()));
    assert_eq!((stage(&app), app.dialog.is_some(), app.editing), (&Stage::Training, false, false));
    assert_eq!(said(&keys(&mut app, "q<Esc>")), [""; 0]);
    assert!(app.run_is_on() && app.dialog.is_none());
    app.dialog = Some(Dialog::Help);
    keys(&mut app, "q<Esc>");
    assert_eq!(app.dialog, Some(Dialog::Help), "what lay behind is there again");
    app.dialog = None;
    assert_eq!(said(&keys(&mut app, "qs")), ["StopAndSave"], "its question is told there too");
    app.update(Event::Drawn(Some(Reach::default())));
    keys(&mut app, "i");
    assert!(app.editing);
    let mut app = ready();
    app.update(Event::Drawn(None));
    assert_eq!(said(&keys(&mut app, " q")), ["Quit"]);
    assert_eq!(said(&keys(&mut app, "<C-c>")), ["Interrupted"]);
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
