//! Is the machine fit for the arithmetic?

use std::env::consts::{ARCH, OS};

use serde_json::{Map, Value, json};

use super::check::Check;
use crate::cli::progress::bytes;
use crate::kernels::{Level, level};
use crate::train::estimate;

/// Below this much free memory no run of the default model fits.
const LEAST_MEMORY: u64 = 1_000_000_000;
/// From this much on, the default run fits.
const ENOUGH_MEMORY: u64 = 3_000_000_000;

pub(super) fn system() -> Check {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = rayon::current_num_threads();
    let what = format!("{OS} on {ARCH}, {cores} cores, {threads} threads for the arithmetic");
    let values = json!({ "os": OS, "arch": ARCH, "cores": cores, "threads": threads });
    let check = if !matches!(OS, "linux" | "macos") {
        Check::note("system", what, "lorascope is made for Linux and macOS; elsewhere nothing is promised")
    } else if threads < cores {
        Check::note("system", what, "unset RAYON_NUM_THREADS to use all cores")
    } else {
        Check::ok("system", what)
    };
    check.with(values)
}

/// `features` as [`crate::kernels::features`] gives them.
pub(super) fn cpu(features: &[(&str, bool)]) -> Check {
    let of = |wanted: bool| {
        let names: Vec<&str> = features.iter().filter(|f| f.1 == wanted).map(|f| f.0).collect();
        if names.is_empty() { "none".to_owned() } else { names.join(" ") }
    };
    let values: Map<String, Value> =
        features.iter().map(|(name, has)| ((*name).to_owned(), json!(has))).collect();
    let what = format!("{}; not there: {}", of(true), of(false));
    let lacks = |name: &str| features.contains(&(name, false));
    let check = if lacks("avx2") || lacks("neon") {
        Check::note("cpu", what, "training will be slow: take fewer --steps, or another machine")
    } else {
        Check::ok("cpu", what)
    };
    check.with(Value::Object(values))
}

pub(super) fn kernels(var: &dyn Fn(&str) -> Option<String>) -> Check {
    let (level, forced) = (level(), var("LORASCOPE_KERNELS").filter(|value| !value.is_empty()));
    let values = json!({ "level": level.name(), "forced": forced, "debug": cfg!(debug_assertions) });
    let check = match forced.as_deref() {
        Some(name) => match Level::named(name) {
            Some(asked) if asked == level => {
                let what = format!("{name}, as LORASCOPE_KERNELS says");
                Check::note("kernels", what, "unset it for the fastest")
            }
            Some(_) => Check::note(
                "kernels",
                format!("{}; LORASCOPE_KERNELS asks for {name}, which this machine lacks", level.name()),
                "unset it",
            ),
            None => Check::note(
                "kernels",
                format!("{}; LORASCOPE_KERNELS is `{name}`, which says nothing", level.name()),
                "unset it, or set it to portable, simd, avx2, avx512, vnni, bf16 or amx",
            ),
        },
        None if cfg!(debug_assertions) => {
            Check::note("kernels", format!("{}, in a debug build", level.name()), "build with --release")
        }
        None if level == Level::Portable => Check::ok("kernels", level.name()),
        None if level.rounds() => {
            let numbers = if level.is_bfloat16() { "bfloat16" } else { "13 bits" };
            let what = format!(
                "{}: products and embedding in {numbers}, cached keys and values and what the MLP keeps mostly in half \
                 floats, all else in float32 (LORASCOPE_KERNELS={} for float32 but where tokens are written)",
                level.name(),
                level.in_float32().name(),
            );
            Check::ok("kernels", what)
        }
        None => Check::ok(
            "kernels",
            format!("{} (LORASCOPE_KERNELS=portable forces the plain ones)", level.name()),
        ),
    };
    check.with(values)
}

pub(super) fn memory() -> Check {
    let free = Some(estimate::available_bytes()).filter(|bytes| *bytes != u64::MAX);
    memory_of(estimate::total_bytes(), free)
}

fn memory_of(total: Option<u64>, free: Option<u64>) -> Check {
    let told = |n: Option<u64>| n.map_or_else(|| "an unknown amount".to_owned(), bytes);
    let free = match (free, total) {
        (Some(free), Some(total)) => Some(free.min(total)),
        (free, _) => free,
    };
    let what = format!("{} free of {}", told(free), told(total));
    let check = match free.or(total) {
        Some(n) if n < LEAST_MEMORY => {
            Check::missing("memory", what, Some("close other programs; a run needs 1 GB at the very least"))
        }
        Some(n) if n < ENOUGH_MEMORY => {
            Check::note("memory", what, "a run may need a smaller --batch, or other programs closed")
        }
        _ => Check::ok("memory", what),
    };
    check.with(json!({ "total_bytes": total, "available_bytes": free }))
}

#[cfg(test)]
mod tests {
    use super::super::check::State;
    use super::*;

    #[test]
    fn little_memory_is_a_note_and_next_to_none_is_the_end() {
        let state = |total, free| memory_of(total, free).state;
        let gb = |n: u64| Some(n * 1_000_000_000);
        assert_eq!(state(gb(16), gb(12)), State::Ok);
        assert_eq!(state(gb(16), gb(2)), State::Note);
        assert_eq!(state(gb(16), Some(5_000_000)), State::Missing);
        assert_eq!(state(gb(2), gb(12)), State::Note, "a container's bound counts");
        assert_eq!(state(gb(16), None), State::Ok);
        assert_eq!(memory_of(None, None).what, "an unknown amount free of an unknown amount");
    }

    #[test]
    fn a_cpu_without_wide_vectors_is_noted() {
        let check = cpu(&[("avx2", true), ("amx-tile", false)]);
        assert_eq!((check.state, check.what.as_str()), (State::Ok, "avx2; not there: amx-tile"));
        assert_eq!(check.values, json!({"avx2": true, "amx-tile": false}));
        assert_eq!(cpu(&[("avx2", false)]).state, State::Note);
        assert_eq!(cpu(&[]).what, "none; not there: none");
    }

    #[test]
    fn kernels_that_were_forced_are_noted_and_nonsense_is_named() {
        let with = |value: &str| kernels(&|name| (name == "LORASCOPE_KERNELS").then(|| value.to_owned()));
        assert_eq!(with("portable").state, State::Note);
        assert!(with("avx9").what.contains("avx9"));
        assert_eq!(with("").values["forced"], Value::Null);
    }
}
