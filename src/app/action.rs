//! What can a key do? The comments on the actions are the help page.

use super::Key;

/// Declares the actions together with their keys, so that the help page cannot fall behind.
macro_rules! actions {
    ($($group:literal { $(#[doc = $help:literal] $name:ident $keys:literal,)+ })+) => {
        /// What a key does.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Action {
            $($(#[doc = $help] $name,)+)+
        }

        /// The help page: groups of (keys, what they do).
        pub(crate) const HELP: &[(&str, &[(&str, &str)])] =
            &[$(($group, &[$(($keys, $help),)+]),)+];
    };
}

actions! {
    "run" {
        /// start a run; pause it; go on
        ToggleRun "Space",
        /// stop the run and save what it learnt
        StopAndSave "s",
        /// choose the recipe of the next run
        ChooseRecipe "r",
        /// what the run trains on: data check, loss mask
        ShowData "d",
    }
    "ask" {
        /// go to the ask line
        EditQuestion "i  /",
        /// ask both sides
        Ask "Enter",
        /// ask one of the suggested questions, until one is asked
        AskSuggestion "1 … 5",
        /// back; give up the answer being written
        Back "Esc",
        /// questions asked before, and back
        Older "←",
        /// the next newer question
        Newer "→",
        /// who answers on the right: tuned, tuned + RAG, base
        SwitchContender "c",
    }
    "look" {
        /// next pane
        NextPane "Tab",
        /// previous pane
        PreviousPane "Shift-Tab",
        /// one pane alone, and back
        Zoom "z",
        /// the exact prompt each side read
        ShowPrompt "p",
        /// the facts, and which are in; arrows move, Enter asks everybody
        ShowFacts "f",
        /// the article's claims, and which of them hold here
        ShowClaims "a",
        /// scroll up
        ScrollUp "PageUp  ↑",
        /// scroll down
        ScrollDown "PageDown  ↓",
        /// dark, light, no colours
        SwitchTheme "t",
        /// this page
        Help "?",
    }
    "leave" {
        /// quit; asks first while a run is on
        Quit "q",
        /// quit at once
        Interrupt "Ctrl-C",
    }
}

/// What the keys do while a question is typed; shown on the help page.
pub(crate) const EDITING: &[(&str, &str)] = &[
    ("← → Home End", "move; with Ctrl by words"),
    ("↑ ↓", "questions typed before"),
    ("Ctrl-W", "delete the word before the cursor"),
    ("Ctrl-U  Ctrl-K", "delete to the start, to the end"),
];

/// What `key` does outside the ask line.
pub(crate) fn in_lab(key: Key) -> Option<Action> {
    Some(match key {
        Key::Char(' ') => Action::ToggleRun,
        Key::Char('s') => Action::StopAndSave,
        Key::Char('r') => Action::ChooseRecipe,
        Key::Char('d') => Action::ShowData,
        Key::Char('i' | '/') => Action::EditQuestion,
        Key::Char('1'..='5') => Action::AskSuggestion,
        Key::Char('c') => Action::SwitchContender,
        Key::Char('z') => Action::Zoom,
        Key::Char('p') => Action::ShowPrompt,
        Key::Char('f') => Action::ShowFacts,
        Key::Char('a') => Action::ShowClaims,
        Key::Char('t') => Action::SwitchTheme,
        Key::Char('?') => Action::Help,
        Key::Char('q') => Action::Quit,
        Key::Ctrl('c') => Action::Interrupt,
        Key::Enter => Action::Ask,
        Key::Esc => Action::Back,
        Key::Left => Action::Older,
        Key::Right => Action::Newer,
        Key::Tab => Action::NextPane,
        Key::BackTab => Action::PreviousPane,
        Key::PageUp | Key::Up => Action::ScrollUp,
        Key::PageDown | Key::Down => Action::ScrollDown,
        _ => return None,
    })
}

/// What `key` does in the ask line, where it is not for editing.
pub(crate) fn in_ask_line(key: Key) -> Option<Action> {
    Some(match key {
        Key::Ctrl('c') => Action::Interrupt,
        Key::Enter => Action::Ask,
        Key::Esc => Action::Back,
        Key::Tab => Action::NextPane,
        Key::BackTab => Action::PreviousPane,
        Key::PageUp => Action::ScrollUp,
        Key::PageDown => Action::ScrollDown,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_single_key_of_the_help_page_does_something() {
        for (keys, help) in HELP.iter().flat_map(|(_, actions)| actions.iter()) {
            for key in keys.split_whitespace().filter(|k| k.chars().count() == 1 && *k != "…") {
                let key = match key {
                    "←" => Key::Left,
                    "→" => Key::Right,
                    "↑" => Key::Up,
                    "↓" => Key::Down,
                    other => Key::Char(other.chars().next().unwrap()),
                };
                assert!(in_lab(key).is_some(), "{key:?} is promised for {help:?} and does nothing");
            }
        }
    }
}
