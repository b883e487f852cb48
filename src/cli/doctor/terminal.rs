//! Will the lab look as it should in this terminal?

use serde_json::json;

use super::check::Check;
use crate::ui::{Ability, Depth, Glyphs, SMALLEST};

/// Where the board of facts has room beside the curves and the answers.
const COMFORTABLE: (u16, u16) = (120, 36);

/// Size, colours and characters. `var` looks a variable of the environment up; `size` is `None` where
/// standard output is no terminal.
pub(super) fn checks(var: &dyn Fn(&str) -> Option<String>, size: Option<(u16, u16)>) -> Vec<Check> {
    vec![of_size(size), colours(var), characters(var)]
}

fn of_size(size: Option<(u16, u16)>) -> Check {
    let Some((width, height)) = size else {
        let what = "standard output is no terminal: the lab is a run, line by line";
        return Check::note("terminal", what, "start it in a terminal to see the lab");
    };
    let what = format!("{width} x {height} characters");
    let check = if (width, height) == (0, 0) {
        Check::note("terminal", "it does not tell its size", "try another terminal")
    } else if width < SMALLEST.0 || height < SMALLEST.1 {
        let remedy = format!("the lab needs {} x {}: make the window larger", SMALLEST.0, SMALLEST.1);
        Check::note("terminal", what, &remedy)
    } else if width < COMFORTABLE.0 || height < COMFORTABLE.1 {
        let remedy = format!("{} x {} shows more, 160 columns all", COMFORTABLE.0, COMFORTABLE.1);
        Check::note("terminal", what, &remedy)
    } else {
        Check::ok("terminal", what)
    };
    check.with(json!({ "columns": width, "rows": height }))
}

fn colours(var: &dyn Fn(&str) -> Option<String>) -> Check {
    let term = var("TERM").filter(|term| !term.is_empty());
    let named = term.as_deref().unwrap_or("no TERM");
    let (depth, n_bits) = match Ability::from_env(var).0.depth {
        Depth::True => (Depth::True, 24),
        Depth::Indexed => (Depth::Indexed, 8),
        Depth::Named => (Depth::Named, 4),
        Depth::None => (Depth::None, 0),
    };
    let check = match depth {
        Depth::True => Check::ok("colours", format!("all ({named})")),
        Depth::Indexed => Check::ok("colours", format!("256 ({named})")),
        Depth::Named => Check::note(
            "colours",
            format!("16 ({named})"),
            "set COLORTERM=truecolor if the terminal can do more",
        ),
        Depth::None => Check::note(
            "colours",
            format!("none ({named})"),
            "they are off with NO_COLOR and in a TERM that is `dumb`; all is told without them too",
        ),
    };
    check.with(json!({ "term": term, "bits": n_bits }))
}

/// Curves are drawn in Braille patterns: these need UTF-8, and a font that has them.
fn characters(var: &dyn Fn(&str) -> Option<String>) -> Check {
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].iter().find_map(|name| var(name).filter(|v| !v.is_empty()));
    let named = locale.as_deref().unwrap_or("no locale is set");
    let is_utf8 = locale.as_ref().is_some_and(|locale| {
        let locale = locale.to_ascii_lowercase();
        locale.contains("utf-8") || locale.contains("utf8")
    });
    let check = if !is_utf8 {
        let remedy = "set LANG to a UTF-8 locale, such as C.UTF-8, if curves look broken";
        Check::note("characters", format!("not UTF-8 ({named})"), remedy)
    } else if Ability::from_env(var).0.glyphs == Glyphs::Blocks {
        let remedy = "another terminal draws finer curves";
        Check::note("characters", format!("UTF-8 ({named}), curves in blocks"), remedy)
    } else {
        Check::ok("characters", format!("UTF-8 ({named})"))
    };
    check.with(json!({ "locale": locale, "utf8": is_utf8 }))
}

#[cfg(test)]
mod tests {
    use super::super::check::State;
    use super::*;

    fn look(vars: &[(&str, &str)], size: Option<(u16, u16)>) -> Vec<State> {
        let var =
            |name: &str| vars.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        checks(&var, size).iter().map(|check| check.state).collect()
    }

    #[test]
    fn a_good_terminal_is_ok_in_every_respect() {
        let vars = [("TERM", "xterm-256color"), ("COLORTERM", "truecolor"), ("LANG", "en_GB.UTF-8")];
        assert_eq!(look(&vars, Some((120, 36))), [State::Ok; 3]);
    }

    #[test]
    fn nothing_about_a_terminal_makes_the_lab_impossible() {
        assert_eq!(look(&[], None), [State::Note; 3]);
        assert_eq!(look(&[("TERM", "dumb"), ("LANG", "C")], Some((59, 18))), [State::Note; 3]);
        assert_eq!(look(&[], Some((0, 0)))[0], State::Note);
    }

    #[test]
    fn the_first_locale_that_is_set_counts() {
        assert_eq!(look(&[("LC_ALL", "C"), ("LANG", "en_GB.UTF-8")], None)[2], State::Note);
        assert_eq!(look(&[("LC_ALL", ""), ("LANG", "C.utf8")], None)[2], State::Ok);
    }
}
