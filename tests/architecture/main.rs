//! Is the house still built as `docs/architecture.md` says?
//!
//! Ordinary tests read every source file and print the broken rule with file and line.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, its helpers too")]

mod rules;
mod scan;
mod scanner;

use std::fs;
use std::path::{Path, PathBuf};

use scan::Source;

/// Every file under `src`, by its path from there.
fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&root, &mut files);
    files.sort();
    let read = |path: &PathBuf| {
        let name = path.strip_prefix(&root).unwrap().to_string_lossy().replace('\\', "/");
        Source::new(&name, &fs::read_to_string(path).unwrap())
    };
    files.iter().map(read).collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
}

/// Fails with the rule's text and every place that breaks it.
fn check(rule: &str, breaks: impl Fn(&Source) -> Vec<(usize, String)>) {
    let mut told = Vec::new();
    let all = sources();
    assert!(all.len() > 50, "the sources were not found");
    for source in &all {
        let name = &source.name;
        told.extend(breaks(source).iter().map(|(line, what)| format!("  src/{name}:{line}: {what}")));
    }
    assert!(told.is_empty(), "\nThe rule: {rule}\n\nBroken in {} places:\n{}\n", told.len(), told.join("\n"));
}

#[test]
fn a_file_imports_only_from_its_own_floor_and_those_below() {
    check(rules::FLOORS_RULE, rules::looks_up);
}

#[test]
fn the_lower_floors_know_neither_terminal_nor_executor() {
    check(rules::QUIET_RULE, rules::knows_the_terminal);
}

#[test]
fn the_app_knows_neither_tensors_nor_widgets() {
    check(rules::APP_RULE, rules::app_reaches_out);
}

#[test]
fn drawing_changes_nothing() {
    check(rules::UI_RULE, rules::drawing_changes_state);
}

#[test]
fn only_the_tui_touches_the_terminal() {
    check(rules::TERMINAL_RULE, rules::touches_the_terminal);
}

#[test]
fn only_commands_print() {
    check(rules::PRINT_RULE, rules::prints);
}

#[test]
fn unsafe_code_lives_in_the_kernels_with_its_reason() {
    check(rules::UNSAFE_RULE, rules::unsafe_without_reason);
}

#[test]
fn channels_are_bounded() {
    check(rules::CHANNEL_RULE, rules::unbounded_channels);
}

#[test]
fn every_module_opens_with_its_question() {
    check(rules::QUESTION_RULE, rules::asks_nothing);
}

#[test]
fn files_stay_short() {
    check(rules::LENGTH_RULE, rules::too_long);
}

#[test]
fn the_architecture_page_names_every_module() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/architecture.md");
    let page = fs::read_to_string(page).unwrap();
    let missing: Vec<String> = sources()
        .iter()
        .filter(|s| !s.name.contains('/'))
        .map(|s| format!("`{}`", s.name))
        .filter(|name| !page.contains(name.as_str()))
        .collect();
    assert!(missing.is_empty(), "docs/architecture.md says nothing of {}", missing.join(", "));
}
