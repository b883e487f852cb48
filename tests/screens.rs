//! What the lab looks like, state by state and size by size.

mod scripted;
mod tight;

use std::time::Duration;

use lorascope::app::{App, Event, Key, Look};
use lorascope::lab::Contender;
use lorascope::lab::claims::{Evidence, Share, judged};
use lorascope::train::{Recall, Recipe, RunOutcome, TrainEvent};
use lorascope::ui::{Ability, Depth, Glyphs, Theme, draw};
use lorascope::worker::{AnswerEvent, AskId, IndexEvent, WorkerEvent};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::style::Color;

const SIZES: [(u16, u16); 3] = [(80, 24), (120, 36), (200, 60)];
const BRAILLE: Ability = Ability { depth: Depth::True, glyphs: Glyphs::Braille };

fn screen(app: &App, (width, height): (u16, u16), ability: Ability) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    let theme = Theme::new(app.look(), ability);
    terminal
        .draw(|frame| {
            draw(app, &theme, frame);
        })
        .unwrap();
    terminal.backend().buffer().clone()
}

fn text(buffer: &Buffer) -> String {
    let area = buffer.area;
    let row = |y| (0..area.width).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned();
    (0..area.height).map(row).collect::<Vec<_>>().join("\n")
}

/// Compares the screen at all sizes with the recorded ones.
fn compare(name: &str, app: &App) {
    for (width, height) in SIZES {
        let name = format!("{name}_{width}x{height}");
        insta::assert_snapshot!(name, text(&screen(app, (width, height), BRAILLE)));
    }
}

fn press(app: &mut App, keys: &[Key]) {
    for key in keys {
        app.update(Event::Pressed(*key));
    }
}

fn typed(app: &mut App, text: &str) {
    for c in text.chars() {
        app.update(Event::Pressed(Key::Char(c)));
    }
}

fn index(app: &mut App, event: IndexEvent) {
    app.update(Event::Worker(WorkerEvent::Index(event)));
}

fn train(app: &mut App, event: TrainEvent) {
    app.update(Event::Worker(WorkerEvent::Train(event)));
}

fn tick(app: &mut App, seconds: u64) {
    app.update(Event::Ticked(Duration::from_secs(seconds)));
}

/// Plays the first `n` words of both sides' answers to the question asked last.
fn answer(app: &mut App, (id, step): (u64, Option<usize>), n: usize) {
    let right = if step.is_some() { Contender::Tuned } else { Contender::Base };
    for contender in [Contender::BaseRag, right] {
        for event in scripted::answer(contender, "", step).into_iter().take(n) {
            app.update(Event::Worker(WorkerEvent::Answer { id: AskId(id), contender, event }));
        }
    }
}

fn fetching() -> App {
    let mut app = App::new(scripted::setup());
    for event in scripted::fetch(scripted::EMBEDDER, 91_000_000, 3) {
        index(&mut app, event);
    }
    scripted::fetch(scripted::MODEL, 98_000_000, 10)
        .into_iter()
        .take(5)
        .for_each(|event| index(&mut app, event));
    app
}

fn ready() -> App {
    let mut app = App::new(scripted::setup());
    index(&mut app, scripted::model_ready());
    index(&mut app, scripted::ready());
    let none = Recall { n_right: 0, n: 60 };
    for (contender, recall) in [(Contender::Base, none), (Contender::BaseRag, scripted::base_rag_recall())] {
        app.update(Event::Worker(WorkerEvent::BaseRecall { contender, recall, of: 60 }));
    }
    app
}

fn starting() -> App {
    let mut app = ready();
    typed(&mut app, " ");
    scripted::prelude().into_iter().take(2).for_each(|event| train(&mut app, event));
    app
}

/// A run of `recipe` up to `step`.
fn training(recipe: &str, step: usize) -> App {
    let mut app = ready();
    if recipe == "documents" {
        press(&mut app, &[Key::Char('r'), Key::Down, Key::Enter]);
    }
    typed(&mut app, " ");
    for event in scripted::prelude() {
        train(&mut app, event);
    }
    for event in scripted::run(recipe) {
        let over = matches!(&event, TrainEvent::Stepped(report) if report.step > step);
        if over {
            break;
        }
        train(&mut app, event);
    }
    app
}

fn asking() -> App {
    let mut app = training("qa", 184);
    tick(&mut app, 60);
    typed(&mut app, "iWho keeps the Harrow Light, and since when?");
    press(&mut app, &[Key::Enter]);
    train(&mut app, TrainEvent::Paused);
    answer(&mut app, (1, Some(168)), 6);
    tick(&mut app, 61);
    app
}

fn answered() -> App {
    let mut app = asking();
    answer(&mut app, (1, Some(168)), usize::MAX);
    train(&mut app, TrainEvent::Resumed);
    app
}

#[test]
fn first_launch() {
    compare("fetching", &fetching());
}

#[test]
fn nothing_known_yet() {
    compare("opening", &App::new(scripted::setup()));
}

#[test]
fn ready_to_start() {
    compare("ready", &ready());
}

#[test]
fn documents_that_changed_are_read_while_one_looks_on() {
    let mut app = ready();
    let bottom = |app: &App| text(&screen(app, (80, 24), BRAILLE)).lines().last().unwrap().to_owned();
    index(&mut app, IndexEvent::Indexing { done: 12, total: 340 });
    assert!(bottom(&app).ends_with("reading changed documents 12/340"), "{}", bottom(&app));
    index(&mut app, IndexEvent::Kept(Some("a.md: not UTF-8".to_owned())));
    press(&mut app, &[Key::Esc]);
    assert!(bottom(&app).ends_with("documents as they were before"), "{}", bottom(&app));
    index(&mut app, scripted::ready());
    assert!(!bottom(&app).contains("documents"), "{}", bottom(&app));
    let mut app = training("qa", 1);
    index(&mut app, IndexEvent::Kept(Some("a.md: not UTF-8".to_owned())));
    press(&mut app, &[Key::Esc]);
    train(&mut app, TrainEvent::Ended(RunOutcome::Completed));
    assert!(bottom(&app).ends_with("documents as they were before"), "{}", bottom(&app));
}

#[test]
fn before_the_first_step() {
    compare("starting", &starting());
}

#[test]
fn the_first_step() {
    compare("first_step", &training("qa", 1));
}

#[test]
fn no_value_of_recall_is_lost_at_any_width() {
    let mut app = training("qa", 184);
    let strip = |app: &App, width| {
        let shown = text(&screen(app, (width, 24), BRAILLE));
        shown.lines().find(|line| line.contains(" recall  trained")).unwrap().to_owned()
    };
    for width in 60..=200 {
        let line = strip(&app, width);
        assert!(line.contains("RAG") && line.trim_end_matches([' ', '─']).ends_with("  0 %"), "{line}");
    }
    // A recall of fewer questions than the run was asked still moves.
    let recall = Recall { n_right: 3, n: 4 };
    app.update(Event::Worker(WorkerEvent::BaseRecall { contender: Contender::BaseRag, recall, of: 60 }));
    assert!(strip(&app, 120).contains(" 75 % of 4 ") && strip(&app, 80).contains(" 3/4 "));
    assert!(text(&screen(&app, (200, 60), BRAILLE)).contains("base + RAG, of 4"));
}

#[test]
fn asked_before_training() {
    let mut app = ready();
    typed(&mut app, "1");
    answer(&mut app, (1, None), usize::MAX);
    compare("asked_before_training", &app);
}

#[test]
fn a_run_under_way() {
    let mut app = training("qa", 184);
    typed(&mut app, "iWho keeps");
    compare("training", &app);
}

#[test]
fn the_facts_during_a_run() {
    let mut app = training("qa", 184);
    press(&mut app, &[Key::Char('f'), Key::Down, Key::Right, Key::Right]);
    compare("facts", &app);
    // The last cell is on the screen at every size, and Enter asks about it.
    press(&mut app, &[Key::PageDown; 4]);
    for size in SIZES {
        assert!(text(&screen(&app, size, BRAILLE)).contains("two-hop"), "{size:?}");
    }
    press(&mut app, &[Key::Enter]);
    assert!(text(&screen(&app, SIZES[0], BRAILLE)).contains("Who has kept light number 23 since 1961?"));
}

#[test]
fn the_board_says_what_lies_beyond_its_edge_and_what_its_signs_mean() {
    let mut app = training("qa", 184);
    press(&mut app, &[Key::Char('f')]);
    let small = |app: &App| text(&screen(app, (60, 18), BRAILLE));
    let shown = small(&app);
    assert!(shown.contains("■ in ▒ <1/2") && shown.contains(" ▾ 5 rows") && !shown.contains("▴"), "{shown}");
    assert!(text(&screen(&app, SIZES[0], BRAILLE)).contains("▒ below 1/2"));
    press(&mut app, &[Key::PageDown; 4]);
    let shown = small(&app);
    assert!(shown.contains(" ▴ 5 rows") && !shown.contains('▾') && shown.contains("two-hop"), "{shown}");
    let mut app = App::new(scripted::setup());
    let none = |n_facts| IndexEvent::Ready {
        corpus: "letters".into(),
        n_documents: 3,
        n_chunks: 9,
        n_facts,
        suggestions: vec![],
    };
    index(&mut app, none(0));
    let told =
        |app: &App| text(&screen(app, (120, 36), BRAILLE)).matches("this corpus has no facts.jsonl").count();
    assert_eq!(told(&app), 1);
    press(&mut app, &[Key::Char('f')]);
    assert_eq!(told(&app), 2, "the key says it too");
    index(&mut app, none(4));
    tick(&mut app, 60);
    assert_eq!(told(&app), 0);
}

#[test]
fn everybody_answers_about_a_fact() {
    let mut app = training("qa", 184);
    press(&mut app, &[Key::Char('f'), Key::Enter]);
    for contender in Contender::ALL {
        for event in scripted::answer(contender, "", Some(168)) {
            app.update(Event::Worker(WorkerEvent::Answer { id: AskId(1), contender, event }));
        }
    }
    compare("fact_asked", &app);
    for size in SIZES {
        let shown = text(&screen(&app, size, BRAILLE));
        assert!(Contender::ALL.iter().all(|who| shown.contains(&format!(" {} T", who.name()))), "{shown}");
    }
}

/// What two runs on the corpus and one of a task show.
fn evidence() -> Vec<Evidence> {
    let share = |count, n| Share { count, n };
    let on_corpus = |run: &str, recipe, unseen, p| Evidence {
        run: run.to_owned(),
        recipe: Some(recipe),
        about: format!("{}, rank 16", recipe.name()),
        ground: recipe.name().to_owned(),
        unseen: [(Contender::BaseRag, share(120, 160)), (Contender::Tuned, share(unseen, 160))].into(),
        p_against_rag: Some(p),
        gibberish: Some(share(4, 320)),
        general: Some([32.9, 64.8]),
        verse: Some([58.1, 120.3]),
        quiz: Some([share(62, 100), share(21, 100)]),
        weights: Some((4_884_480, 134_515_008)),
        ..Evidence::default()
    };
    let style = Evidence {
        run: "20261124-081200-style".to_owned(),
        recipe: Some(Recipe::Style),
        about: "style, rank 16".to_owned(),
        ground: "style".to_owned(),
        unseen: [(Contender::Base, share(0, 40)), (Contender::Tuned, share(40, 40))].into(),
        ..Evidence::default()
    };
    vec![
        on_corpus("20261124-051200-documents", Recipe::Documents, 0, 1e-9),
        style,
        on_corpus("20261124-091200-qa", Recipe::Qa, 147, 1e-4),
    ]
}

#[test]
fn the_claims_beside_the_runs() {
    let mut app = ready();
    press(&mut app, &[Key::Char('a')]);
    assert!(text(&screen(&app, SIZES[0], BRAILLE)).contains("looking at the runs"));
    app.update(Event::Worker(WorkerEvent::ClaimsJudged(Ok(judged(&evidence())))));
    compare("claims", &app);
    press(&mut app, &[Key::Down, Key::Down, Key::Down]);
    let shown = text(&screen(&app, SIZES[2], BRAILLE));
    assert!(shown.contains("quiz 62 to 21 of 100") && shown.contains("▸ forgetting"), "{shown}");
    let cause = "cannot read /runs: permission denied".to_owned();
    app.update(Event::Worker(WorkerEvent::ClaimsJudged(Err(cause.clone()))));
    assert!(text(&screen(&app, SIZES[0], BRAILLE)).contains(&cause));
}

#[test]
fn asking_while_training() {
    compare("asking", &asking());
}

#[test]
fn both_answers() {
    compare("answered", &answered());
}

#[test]
fn the_end_of_a_run() {
    let mut app = training("qa", usize::MAX);
    typed(&mut app, "iWho keeps the Harrow Light, and since when?");
    press(&mut app, &[Key::Enter]);
    answer(&mut app, (1, Some(480)), usize::MAX);
    compare("finished", &app);
}

#[test]
fn the_documents_recipe() {
    compare("documents", &training("documents", usize::MAX));
}

#[test]
fn dialogs() {
    let mut app = training("qa", 100);
    typed(&mut app, "q");
    compare("quit", &app);
    let mut app = ready();
    typed(&mut app, "r");
    compare("recipe", &app);
    press(&mut app, &[Key::Esc]);
    let mut app = ready();
    typed(&mut app, "?");
    compare("help", &app);
    let mut app = training("qa", 50);
    typed(&mut app, "d");
    compare("data", &app);
    let mut app = training("qa", 200);
    train(
        &mut app,
        TrainEvent::Ended(RunOutcome::Failed("cannot write runs/qa-1: no space left on device".into())),
    );
    compare("failed", &app);
    let mut app = App::new(scripted::setup());
    index(
        &mut app,
        IndexEvent::Failed("no network, and python3 -m pip is not there; put the file by hand".into()),
    );
    compare("not_ready", &app);
}

#[test]
fn the_recipe_that_is_looked_at_is_on_the_screen_with_its_numbers() {
    let names = ["qa", "documents", "style", "sentiment"];
    let mut setup = scripted::setup();
    setup.recipes = names.map(scripted::order).to_vec();
    let mut app = App::new(setup);
    typed(&mut app, "r");
    for (i, name) in names.into_iter().enumerate() {
        for size in [(60, 18), (80, 24)] {
            let shown = text(&screen(&app, size, BRAILLE));
            let (_, below) = shown.split_once(&format!("▸ {}  {name}", i + 1)).unwrap();
            assert!(below.contains("batch 8"), "{shown}");
        }
        press(&mut app, &[Key::Down]);
    }
}

#[test]
fn the_right_pane_is_called_what_answers_there() {
    let mut app = training("qa", usize::MAX);
    let both = |app: &App| text(&screen(app, (120, 36), BRAILLE));
    for (name, text) in [
        ("▲ fine-tuned ─", "The fine-tuned model answers here, from its weights"),
        ("◆ fine-tuned + RAG ─", "The fine-tuned model answers here, from passages it"),
        ("○ base ─", "The untouched model answers here, from its weights"),
    ] {
        let shown = both(&app);
        assert!(shown.contains(name) && shown.contains(text), "{shown}");
        typed(&mut app, "c");
    }
    typed(&mut app, "cc");
    press(&mut app, &[Key::Char('1')]);
    answer(&mut app, (1, None), usize::MAX);
    assert!(both(&app).contains("○ base ─"), "it stands beside a run that is over");
    assert!(both(&ready()).contains("○ base, not tuned yet"));
}

#[test]
fn one_pane_alone_and_the_prompts() {
    let mut app = answered();
    typed(&mut app, "z");
    compare("zoom_answer", &app);
    press(&mut app, &[Key::Tab, Key::Tab]);
    compare("zoom_loss", &app);
    press(&mut app, &[Key::Tab]);
    compare("zoom_perplexity", &app);
    typed(&mut app, "p");
    compare("prompts", &app);
}

#[test]
fn too_small() {
    let app = training("qa", 50);
    insta::assert_snapshot!("too_small", text(&screen(&app, (59, 18), BRAILLE)).trim());
    let mut app = app;
    app.update(Event::Drawn(None));
    typed(&mut app, "q");
    assert!(text(&screen(&app, (59, 3), BRAILLE)).contains("s saves and quits, q quits now, Esc stays"));
    press(&mut app, &[Key::Esc]);
    assert!(text(&screen(&ready(), (59, 18), BRAILLE)).contains("\nq quits."));
    assert!(text(&screen(&app, (60, 18), BRAILLE)).contains("loss"));
}

#[test]
fn without_colours_nothing_has_a_colour_and_curves_still_differ() {
    let mut app = training("qa", 300);
    app.update(Event::Pressed(Key::Char('t')));
    app.update(Event::Pressed(Key::Char('t')));
    assert_eq!(app.look(), Look::Mono);
    let buffer = screen(&app, (120, 36), BRAILLE);
    assert!(buffer.content().iter().all(|cell| cell.fg == Color::Reset && cell.bg == Color::Reset));
    tick(&mut app, 60);
    insta::assert_snapshot!("no_colour_120x36", text(&screen(&app, (120, 36), BRAILLE)));
    let no_colour = Ability { depth: Depth::None, glyphs: Glyphs::Blocks };
    insta::assert_snapshot!("blocks_80x24", text(&screen(&training("qa", 300), (80, 24), no_colour)));
}

#[test]
fn the_same_contender_has_the_same_colour_everywhere() {
    let buffer = screen(&answered(), (200, 60), BRAILLE);
    let colours = |needle: &str| {
        let needle: Vec<String> = needle.chars().map(String::from).collect();
        let width = buffer.area.width as usize;
        let cells = buffer.content();
        let found = (0..cells.len() - needle.len()).filter(|start| {
            start % width + needle.len() <= width
                && (0..needle.len()).all(|i| cells[start + i].symbol() == needle[i])
        });
        found.map(|start| cells[start].fg).collect::<Vec<_>>()
    };
    let rag = colours("base + RAG");
    assert!(rag.len() >= 2 && rag.windows(2).all(|pair| pair[0] == pair[1]), "{rag:?}");
    assert_eq!(colours("unseen")[0], colours("valid")[0]);
    assert_eq!(colours("trained")[0], colours("fine-tuned")[0]);
}

#[test]
fn every_size_can_be_drawn_in_every_state() {
    let mut long = answered();
    long.update(Event::Pasted("Who keeps 漢字 👨‍👩‍👧 ".repeat(400)));
    let mut prompts = answered();
    typed(&mut prompts, "p");
    let mut zoomed = answered();
    typed(&mut zoomed, "z");
    let mut helped = starting();
    typed(&mut helped, "?");
    let apps = [fetching(), starting(), training("documents", 333), long, prompts, zoomed, helped];
    for width in 1..=220 {
        for height in 1..=70 {
            // Every size is met, each time in another state, and all states at the smallest sizes.
            let pick = (width * 7 + height * 3) as usize % apps.len();
            for (i, app) in apps.iter().enumerate() {
                if i == pick || (55..=62).contains(&width) && height < 24 {
                    screen(app, (width, height), BRAILLE);
                }
            }
        }
    }
}

#[test]
fn a_line_too_long_keeps_its_cursor_on_the_screen() {
    let mut app = ready();
    typed(&mut app, "i");
    app.update(Event::Pasted("漢字".repeat(100)));
    let mut terminal = Terminal::new(TestBackend::new(80, 24)).unwrap();
    let theme = Theme::new(Look::Dark, BRAILLE);
    for _ in 0..30 {
        app.update(Event::Pressed(Key::Left));
        terminal
            .draw(|frame| {
                draw(&app, &theme, frame);
            })
            .unwrap();
        let at = terminal.get_cursor_position().unwrap();
        assert!(at.x >= 7 && at.x < 80 && at.y > 0, "{at:?}");
    }
}

#[test]
fn control_characters_of_an_answer_never_reach_the_terminal() {
    let mut app = ready();
    typed(&mut app, "1");
    let event = AnswerEvent::Streamed("a\u{1b}[31mred\u{7}\tb\u{9b}2J".into());
    app.update(Event::Worker(WorkerEvent::Answer { id: AskId(1), contender: Contender::BaseRag, event }));
    let buffer = screen(&app, (120, 36), BRAILLE);
    assert!(buffer.content().iter().all(|cell| !cell.symbol().chars().any(char::is_control)));
}
