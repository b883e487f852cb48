//! Can the rules fail? Small wrong files that each must catch, and right ones that none may.

use crate::rules::*;
use crate::scan::{Source, modules_named};

type Rule = fn(&Source) -> Vec<(usize, String)>;

fn lines(rule: Rule, name: &str, text: &str) -> Vec<usize> {
    rule(&Source::new(name, text)).into_iter().map(|(line, _)| line).collect()
}

#[test]
fn imports_from_above_are_found_however_they_are_written() {
    for text in [
        "use crate::train::Recipe;",
        "use crate::{error::Error, train::{Recipe, TrainConfig}};",
        "use crate::{\n    error::Error,\n    model,\n    lab,\n};",
        "fn f() -> crate::rag::Passage { todo() }",
        "pub(crate) use crate::worker;",
        "use super::super::lab::Answer;",
    ] {
        assert_eq!(lines(looks_up, "model/decoder.rs", text).len(), 1, "{text}");
    }
    assert_eq!(lines(looks_up, "model/decoder.rs", "\n\nuse crate::{\n  error,\n  lab,\n};"), [5]);
    assert_eq!(lines(looks_up, "train.rs", "use super::lab::Answer;"), [1]);
}

#[test]
fn imports_from_the_own_floor_and_below_are_free() {
    let text = "use super::config::Recipe;\nuse crate::{error::Error, run::RunFolder};\nuse crate::kernels;";
    assert!(lines(looks_up, "train/step.rs", text).is_empty());
    assert!(lines(looks_up, "main.rs", "use lorascope::cli;").is_empty());
    assert!(lines(looks_up, "lib.rs", "pub mod train;").is_empty());
}

#[test]
fn a_module_without_a_floor_is_found() {
    assert_eq!(lines(looks_up, "helpers.rs", "//! Why?"), [1]);
    assert_eq!(lines(looks_up, "helpers/more.rs", "//! Why?"), [1]);
}

#[test]
fn tests_comments_and_strings_are_put_aside() {
    let text = "
// use crate::lab;
/* use crate::lab; /* nested */ use crate::lab; */
const A: &str = \"use crate::lab; \\\" {\";
const B: &str = r#\"use crate::lab; \" {\"#;
const C: [char; 3] = ['\"', '\\'', '{'];
fn f<'a>(x: &'a str) -> &'a str { x }
#[cfg(test)]
mod tests {
    use crate::lab;
    fn g() { println!(\"{}\", '}'); }
}
#[cfg(test)]
mod more;
";
    assert!(lines(looks_up, "model.rs", text).is_empty());
    assert!(lines(prints, "model.rs", text).is_empty());
    let after = format!("{text}use crate::lab;\n");
    assert_eq!(lines(looks_up, "model.rs", &after), [15]);
    assert!(lines(looks_up, "model/tests.rs", "use crate::lab;").is_empty());
}

#[test]
fn groups_name_the_first_part_of_each_path() {
    let source = Source::new("tui.rs", "use crate::{app::{self, App}, ui, worker::{a, b::c}};");
    let named: Vec<String> = modules_named(&source).into_iter().map(|(_, name)| name).collect();
    assert_eq!(named, ["app", "ui", "worker"]);
}

#[test]
fn the_lower_floors_are_quiet() {
    for name in ["kernels/norm.rs", "model.rs", "corpus/chunk.rs", "train/step.rs", "rag.rs", "lab/cost.rs"] {
        for text in ["use ratatui::style::Color;", "use crossterm as term;", "fn f() { tokio::spawn(g()); }"]
        {
            assert_eq!(lines(knows_the_terminal, name, text), [1], "{name}: {text}");
        }
    }
    assert!(lines(knows_the_terminal, "rag.rs", "// tokio\nfn tokio_free() {}").is_empty());
    assert!(lines(knows_the_terminal, "ui.rs", "use ratatui::Frame;").is_empty());
}

#[test]
fn the_app_stays_state_and_the_ui_reads() {
    for text in
        ["use candle_core::Tensor;", "let now = Instant::now();", "use std::fs;", "use ratatui::Frame;"]
    {
        assert_eq!(lines(app_reaches_out, "app/run.rs", text), [1], "{text}");
        assert!(lines(app_reaches_out, "tui.rs", text).is_empty());
    }
    assert_eq!(lines(drawing_changes_state, "ui/loss.rs", "\nfn draw(app: &mut App) {}"), [2]);
    assert!(lines(drawing_changes_state, "ui/loss.rs", "fn draw(app: &App, buf: &mut Buffer) {}").is_empty());
}

#[test]
fn the_terminal_has_one_door() {
    assert_eq!(lines(touches_the_terminal, "app.rs", "use crossterm::event::KeyEvent;"), [1]);
    assert_eq!(lines(touches_the_terminal, "lab.rs", "let mut out = std::io::stdout();"), [1]);
    assert_eq!(lines(touches_the_terminal, "cli/ask.rs", "use crossterm::event::read;"), [1]);
    assert!(
        lines(touches_the_terminal, "cli/ask.rs", "io::stdout().lock(); crossterm::terminal::size()")
            .is_empty()
    );
    assert!(lines(touches_the_terminal, "tui/guard.rs", "use crossterm::terminal;").is_empty());
    assert!(lines(touches_the_terminal, "hub.rs", "command.stdout(log)").is_empty());
    assert_eq!(lines(prints, "train.rs", "fn f() {\n    eprintln!(\"lost\");\n}"), [2]);
    assert!(lines(prints, "cli.rs", "println!(\"found\");").is_empty());
}

#[test]
fn unsafe_needs_its_place_and_its_reason() {
    assert_eq!(lines(unsafe_without_reason, "train.rs", "// SAFETY: none\nunsafe { f() }"), [2]);
    assert_eq!(lines(unsafe_without_reason, "kernels/cpu.rs", "// fast\nunsafe { f() }"), [2]);
    let far = "// SAFETY: of something else\nlet x = 1;\nunsafe { f() }";
    assert_eq!(lines(unsafe_without_reason, "kernels/cpu.rs", far), [3]);
    let good = "// SAFETY: checked\n// above.\n#[allow(unsafe_code)]\nunsafe { f() }";
    assert!(lines(unsafe_without_reason, "kernels/cpu.rs", good).is_empty());
}

#[test]
fn channels_questions_and_lengths_are_watched() {
    let channel = "use std::sync::mpsc::channel;\nfn f() { let (a, b) = channel(); }";
    assert_eq!(lines(unbounded_channels, "tui.rs", channel), [2]);
    assert!(lines(unbounded_channels, "worker/crew.rs", channel).is_empty());
    assert!(lines(unbounded_channels, "tui.rs", "let (a, b) = mpsc::channel(8);").is_empty());
    assert_eq!(lines(unbounded_channels, "worker.rs", "use tokio::sync::mpsc::unbounded_channel;"), [1]);
    assert_eq!(lines(asks_nothing, "a.rs", "//! The helpers.\n//!\n//! Why?"), [1]);
    assert_eq!(lines(asks_nothing, "a.rs", "use b;\n//! Why?"), [1]);
    assert!(lines(asks_nothing, "a.rs", "//! Why is it so, and\n//! how long?\nuse b;").is_empty());
    assert_eq!(lines(too_long, "a.rs", &"x\n".repeat(461)), [460]);
    let tested = format!("{}\n#[cfg(test)]\nmod tests {{\n{}}}\n", "x\n".repeat(400), "y\n".repeat(200));
    assert!(lines(too_long, "a.rs", &tested).is_empty());
}
