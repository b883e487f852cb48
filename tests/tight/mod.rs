//! Does what must be on the screen stay there, whatever its size and whatever happens?

use lorascope::train::Estimate;

use super::*;

#[test]
fn what_could_not_be_made_ready_stays_on_the_screen_with_its_way_out() {
    let mut app = App::new(scripted::setup());
    index(&mut app, IndexEvent::Failed("facts.jsonl:3: no JSON".into()));
    press(&mut app, &[Key::Esc]);
    typed(&mut app, "iWho?");
    press(&mut app, &[Key::Enter]);
    for size in [(60, 18), SIZES[0], SIZES[1]] {
        let shown = text(&screen(&app, size, BRAILLE));
        assert!(shown.contains("Space tries again to get all ready"), "{shown}");
        assert!(shown.contains("Who?  (waits; Space tries again: facts.jsonl:3"), "{shown}");
        assert!(shown.lines().last().unwrap().starts_with(" Space try again"), "{shown}");
        assert!(!shown.contains("looking for the models"), "{shown}");
    }
}

#[test]
fn a_cause_too_long_for_its_place_has_a_sign_where_it_is_cut() {
    let mut app = App::new(scripted::setup());
    index(&mut app, IndexEvent::Failed("the hub cannot be reached. ".repeat(40)));
    press(&mut app, &[Key::Esc]);
    let shown = text(&screen(&app, SIZES[0], BRAILLE));
    let last = shown.lines().nth(22).unwrap();
    assert!(last.contains(" … "), "{last}");
}

#[test]
fn the_header_never_writes_over_itself() {
    for recipe in ["qa", "documents"] {
        let (trains, mut pauses) = (training(recipe, 160), training(recipe, 160));
        typed(&mut pauses, " ");
        for width in 60..=200 {
            let shown = |app, height| text(&screen(app, (width, height), BRAILLE));
            let one = shown(&pauses, 24);
            let line = one.lines().next().unwrap();
            assert!(line.starts_with(" lorascope  ") && line.ends_with(" left"), "{line}");
            assert!(line.contains("  ◑ pausing  step 160/480  "), "{line}");
            let one = shown(&trains, 24);
            assert!(one.lines().next().unwrap().contains("  ● step 160/480  "), "{one}");
            if width >= 100 {
                let two = shown(&trains, 36);
                let lines: Vec<&str> = two.lines().take(2).collect();
                assert!(lines[0].contains("r16 α32  ") && lines[0].ends_with(" 168 facts"), "{}", lines[0]);
                assert!(lines[0].contains("  72 documents,") || lines[0].contains("  The Harrow Isles: 72"));
                assert!(lines[1].starts_with(" ● training  ") && lines[1].ends_with(" left"), "{}", lines[1]);
                assert!(lines[1].contains(" step 160/480  "), "{}", lines[1]);
            }
        }
    }
}

#[test]
fn the_values_in_the_titles_are_there_at_every_width() {
    let app = training("qa", 184);
    for width in 60..=200 {
        let shown = text(&screen(&app, (width, 30), BRAILLE));
        let row = shown.lines().find(|line| line.contains("▸ loss ")).unwrap();
        let mut values = vec!["0.59 ", "0.86 "];
        if width >= 100 {
            values.extend(["2.35 ", "22.2 "]);
        }
        if width >= 160 {
            values.extend([" 83 % ", " 55 % "]);
        }
        assert!(values.iter().all(|value| row.contains(value)), "{width}: {row}");
        assert!(
            ["train", "corpus", "trained"].iter().all(|name| !row.contains(&format!("─{name}"))),
            "{row}"
        );
    }
}

#[test]
fn a_run_that_was_stopped_says_so_and_how_long_it_took() {
    let mut app = training("qa", 200);
    train(&mut app, TrainEvent::Ended(RunOutcome::Completed));
    for size in SIZES {
        let shown = text(&screen(&app, size, BRAILLE));
        let header = shown.lines().take(2).collect::<Vec<_>>().join(" ");
        assert!(header.contains("■ stopped ") && header.contains("step 200/480"), "{header}");
        assert!(header.contains("in 0:54"), "{header}");
        assert!(!header.contains(" left") && !header.contains("tok/s"), "{header}");
    }
}

#[test]
fn the_way_to_the_other_keys_never_falls_off_the_bottom_line() {
    let bottom =
        |app: &App, width| text(&screen(app, (width, 24), BRAILLE)).lines().last().unwrap().to_owned();
    let mut remarked = answered();
    train(&mut remarked, TrainEvent::Evaluating { done: 3, total: 8 });
    let mut noticed = training("qa", 50);
    typed(&mut noticed, "r");
    let mut zoomed = answered();
    typed(&mut zoomed, "z");
    let ended = training("qa", usize::MAX);
    for width in [60, 80, 120] {
        for app in [&remarked, &noticed, &zoomed, &ended] {
            assert!(bottom(app, width).contains(" ? help"), "{}", bottom(app, width));
        }
        let mut typing = answered();
        typed(&mut typing, "i");
        assert!(bottom(&typing, width).contains(" Esc back"), "{}", bottom(&typing, width));
    }
}

#[test]
fn why_a_run_failed_stays_on_the_screen() {
    let cause = "no fact with a `trained` wording; choose another recipe";
    let fail = |app: &mut App| {
        train(app, TrainEvent::Ended(RunOutcome::Failed(cause.into())));
        press(app, &[Key::Esc]);
        text(&screen(app, SIZES[0], BRAILLE))
    };
    let mut app = ready();
    typed(&mut app, " ");
    assert!(text(&screen(&app, SIZES[0], BRAILLE)).contains("Looking at the training data"));
    let shown = fail(&mut app);
    assert!(
        shown.contains(cause) && shown.contains("r chooses another recipe, Space tries again"),
        "{shown}"
    );
    assert!(!shown.contains("Looking at"), "{shown}");
    assert!(fail(&mut training("qa", 200)).contains(&format!("✗ {cause}")));
}

#[test]
fn how_long_a_run_takes_is_not_said_before_it_is_known() {
    let mut app = ready();
    typed(&mut app, " ");
    let estimate = |total_s| Estimate { peak_bytes: 800_000_000, available_bytes: u64::MAX, total_s };
    train(&mut app, TrainEvent::Estimated(estimate(f64::INFINITY)));
    assert!(text(&screen(&app, SIZES[0], BRAILLE)).contains("Needs 0.8 GB memory.\n"));
    train(&mut app, TrainEvent::Estimated(estimate(61.0)));
    assert!(text(&screen(&app, SIZES[0], BRAILLE)).contains("Needs 0.8 GB memory and about 1:01.\n"));
}

#[test]
fn what_has_no_room_is_said_shorter_or_cut_with_a_sign() {
    let mut app = answered();
    typed(&mut app, "p");
    let shown = text(&screen(&app, (60, 18), BRAILLE));
    assert!(
        shown.contains("● prompt of base + RAG ") && shown.contains("▲ prompt of fine-tuned "),
        "{shown}"
    );
    let mut app = ready();
    app.update(Event::Pasted("Who keeps the light? ".repeat(20)));
    let ask = |app: &App| {
        let shown = text(&screen(app, SIZES[0], BRAILLE));
        shown.lines().find(|line| line.starts_with(" ask ▸ ")).unwrap().to_owned()
    };
    assert!(ask(&app).starts_with(" ask ▸ …"), "{}", ask(&app));
    press(&mut app, &[Key::Home]);
    assert!(ask(&app).starts_with(" ask ▸ Who keeps") && ask(&app).ends_with('…'), "{}", ask(&app));
}
