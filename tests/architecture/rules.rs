//! Which rules hold the house up?

use crate::scan::{Source, line_of, modules_named, places};

/// Module and floor. A new module needs a line here and one in `docs/architecture.md`.
const FLOORS: [(&str, usize); 24] = [
    ("cancel", 0),
    ("meter", 0),
    ("config", 0),
    ("error", 0),
    ("files", 0),
    ("kernels", 0),
    ("paths", 0),
    ("corpus", 1),
    ("hub", 1),
    ("model", 1),
    ("sample", 1),
    ("rag", 2),
    ("run", 2),
    ("train", 2),
    ("lab", 3),
    ("worker", 4),
    ("app", 5),
    ("ui", 6),
    ("plot", 7),
    ("report", 7),
    ("tui", 7),
    ("cli", 8),
    ("lib", 9),
    ("main", 9),
];

/// Lines of a file at most, its own tests left out.
const MAX_LINES: usize = 460;

pub(crate) const FLOORS_RULE: &str = "each module stands on a floor (the table in tests/architecture/rules.rs) and imports \
     only from its own floor and those below; what both need moves down";
pub(crate) const QUIET_RULE: &str = "floors 0 to 3 (kernels, model, corpus, hub, train, rag, run, lab) know neither ratatui, \
     crossterm nor tokio: they work without a screen";
pub(crate) const APP_RULE: &str = "`app` is state only: no candle, no widgets, no clock, no files, no threads; it takes events \
     and returns effects";
pub(crate) const UI_RULE: &str =
    "`ui` reads `&App` and never changes it: drawing twice gives the same picture";
pub(crate) const TERMINAL_RULE: &str = "terminal I/O (crossterm, standard output) lives in `tui` alone; commands may write \
     lines to standard output and ask for the width";
pub(crate) const PRINT_RULE: &str = "only `cli` and main.rs print: a stray line corrupts a terminal screen";
pub(crate) const UNSAFE_RULE: &str =
    "`unsafe` only under kernels/, each block preceded by `// SAFETY:` and its reason";
pub(crate) const CHANNEL_RULE: &str = "channels are bounded, or a slow listener fills the memory; only a worker's orders, which keys make, may queue";
pub(crate) const QUESTION_RULE: &str =
    "every file opens with `//!` and the question it answers, in its first paragraph";
pub(crate) const LENGTH_RULE: &str = "no file is longer than 460 lines, its inline tests left out";

type Breaks = Vec<(usize, String)>;

pub(crate) fn floor_of(module: &str) -> Option<usize> {
    FLOORS.iter().find(|(name, _)| *name == module).map(|(_, floor)| *floor)
}

pub(crate) fn looks_up(source: &Source) -> Breaks {
    let module = source.module();
    let Some(floor) = floor_of(module) else {
        return vec![(1, format!("the module `{module}` has no floor"))];
    };
    let up = |(line, name): (usize, String)| {
        let there = floor_of(&name).filter(|there| *there > floor && name != "lib" && name != "main")?;
        Some((line, format!("`{module}` on floor {floor} imports `{name}` from floor {there}")))
    };
    modules_named(source).into_iter().filter_map(up).collect()
}

pub(crate) fn knows_the_terminal(source: &Source) -> Breaks {
    let is_low = floor_of(source.module()).is_some_and(|floor| floor <= 3);
    let words = ["ratatui", "crossterm", "tokio"];
    if is_low { mentions(&source.shipped, &words) } else { Vec::new() }
}

pub(crate) fn app_reaches_out(source: &Source) -> Breaks {
    const OUTSIDE: [&str; 13] = [
        "candle_core",
        "candle_nn",
        "candle_transformers",
        "ratatui",
        "crossterm",
        "tokio",
        "std::fs",
        "std::io",
        "std::thread",
        "fs::read",
        "thread::spawn",
        "Instant::now",
        "SystemTime::now",
    ];
    if source.module() == "app" { mentions(&source.shipped, &OUTSIDE) } else { Vec::new() }
}

pub(crate) fn drawing_changes_state(source: &Source) -> Breaks {
    let words = ["&mut App", "Mutex", "RefCell", "std::fs", "Instant::now"];
    if source.module() == "ui" { mentions(&source.shipped, &words) } else { Vec::new() }
}

pub(crate) fn touches_the_terminal(source: &Source) -> Breaks {
    let words: &[&str] = match source.module() {
        "tui" => &[],
        // A command may ask how wide the terminal is; its state and its keys are not its business.
        "cli" | "main" => {
            &["crossterm::event", "crossterm::execute", "enable_raw_mode", "EnterAlternateScreen"]
        }
        _ => &["crossterm", "io::stdout", "stdout().", "io::stderr", "io::stdin"],
    };
    mentions(&source.shipped, words)
}

pub(crate) fn prints(source: &Source) -> Breaks {
    let words = ["println!", "eprintln!", "print!", "eprint!", "dbg!"];
    if matches!(source.module(), "cli" | "main") { Vec::new() } else { mentions(&source.shipped, &words) }
}

pub(crate) fn unsafe_without_reason(source: &Source) -> Breaks {
    let lines: Vec<&str> = source.text.lines().collect();
    let mut breaks = Vec::new();
    for at in places(&source.code, "unsafe") {
        let line = line_of(&source.code, at);
        if source.module() != "kernels" {
            breaks.push((line, "`unsafe` outside kernels".to_owned()));
            continue;
        }
        let is_remark = |l: &&&str| l.trim_start().starts_with("//") || l.trim_start().starts_with("#[");
        let above = || lines[..line - 1].iter().rev().take_while(is_remark);
        let names_reason = |l: &&str| l.contains("// SAFETY:") || l.contains("/// # Safety");
        if !above().any(names_reason) {
            breaks.push((line, "`unsafe` without `// SAFETY:` above it".to_owned()));
        }
    }
    breaks
}

pub(crate) fn unbounded_channels(source: &Source) -> Breaks {
    // A bounded channel is made with its size; the one without is not.
    let words = ["channel()", "unbounded_channel", "channel::<"];
    if source.module() == "worker" {
        return mentions(&source.shipped, &words[1..2]);
    }
    mentions(&source.shipped, &words)
}

pub(crate) fn asks_nothing(source: &Source) -> Breaks {
    let opening: Vec<&str> = source.text.lines().take_while(|l| l.starts_with("//!")).collect();
    let paragraph = opening.iter().take_while(|l| l.trim() != "//!");
    let asks = paragraph.clone().any(|l| l.contains('?'));
    if asks { Vec::new() } else { vec![(1, "opens without a question".to_owned())] }
}

pub(crate) fn too_long(source: &Source) -> Breaks {
    let tests = source.text.find("\n#[cfg(test)]\nmod tests {").unwrap_or(source.text.len());
    let n = source.text[..tests].lines().count();
    if n > MAX_LINES { vec![(MAX_LINES, format!("{n} lines"))] } else { Vec::new() }
}

fn mentions(code: &str, words: &[&str]) -> Breaks {
    let of = |word: &&str| {
        let word = *word;
        let at = places(code, word);
        at.into_iter().map(|at| (line_of(code, at), format!("`{word}`"))).collect::<Vec<_>>()
    };
    let mut found: Breaks = words.iter().flat_map(of).collect();
    found.sort();
    found
}
