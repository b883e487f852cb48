//! How do runs begin, how do dialogs close, and how is the lab left?

use super::{App, Asked, Dialog, Effect, Goodbye, Key, Preparation, Run, Stage};
use crate::worker::RunControl;

impl App {
    /// Orders the chosen run.
    pub(super) fn start_run(&mut self) -> Vec<Effect> {
        let Some(order) = self.setup.recipes.get(self.chosen).cloned() else { return Vec::new() };
        self.leave_run();
        self.run = Some(Run::new(order.clone()));
        self.saved_at = None;
        vec![Effect::Train(order)]
    }

    /// Takes the run off the screen: what its weights have answered is now of the run before.
    fn leave_run(&mut self) {
        self.run = None;
        self.run_no += 1;
        self.asked.iter_mut().for_each(Asked::outlive_run);
    }

    /// Gets models, corpus and index ready once more, from the beginning.
    pub(super) fn prepare_again(&mut self) -> Vec<Effect> {
        self.dialog = None;
        self.preparation = Preparation::default();
        vec![Effect::Prepare]
    }

    pub(super) fn press_in_dialog(&mut self, key: Key) -> Vec<Effect> {
        let Some(dialog) = self.dialog.clone() else { return Vec::new() };
        match (dialog, key) {
            (Dialog::Quit, Key::Char('s')) => return self.save_and_quit(),
            (Dialog::Quit, Key::Char('q' | 'y')) => return self.quit(Goodbye::Quit),
            (Dialog::Quit, key) => {
                if matches!(key, Key::Esc | Key::Char('n')) {
                    self.dialog = self.behind.take();
                }
            }
            (Dialog::Recipe { selected }, key) => self.press_in_recipes(selected, key),
            (Dialog::Error(trouble), Key::Char('r') | Key::Enter) if trouble.retry => {
                return self.prepare_again();
            }
            (Dialog::Error(trouble), Key::Char('q')) if trouble.retry => return self.quit(Goodbye::Quit),
            (_, Key::Up | Key::Down | Key::PageUp | Key::PageDown) => self.scroll(key),
            (Dialog::Help, Key::Char('?' | 'q'))
            | (Dialog::Data, Key::Char('d' | 'q'))
            | (_, Key::Esc | Key::Enter | Key::Char(' ')) => self.dialog = None,
            _ => {}
        }
        Vec::new()
    }

    /// On a screen that is too small only the way out is open.
    pub(super) fn press_unseen(&mut self, key: Key) -> Vec<Effect> {
        match (&self.dialog, key) {
            (Some(Dialog::Quit), _) => self.press_in_dialog(key),
            (_, Key::Char('q')) if self.run_is_on() => {
                self.behind = self.dialog.take();
                self.open(Dialog::Quit);
                Vec::new()
            }
            (_, Key::Char('q')) => self.quit(Goodbye::Quit),
            _ => Vec::new(),
        }
    }

    fn press_in_recipes(&mut self, selected: usize, key: Key) {
        let n = self.setup.recipes.len().max(1);
        let selected = match key {
            Key::Up | Key::BackTab | Key::Char('k') => (selected + n - 1) % n,
            Key::Down | Key::Tab | Key::Char('j' | 'r') => (selected + 1) % n,
            Key::Char(digit @ '1'..='9') => {
                let wanted = digit.to_digit(10).unwrap_or(1) as usize - 1;
                if wanted < n { wanted } else { selected }
            }
            Key::Enter | Key::Char(' ') => {
                self.chosen = selected;
                self.dialog = None;
                // The screen shows the next run, not the last one's result.
                if self
                    .run
                    .as_ref()
                    .is_some_and(|run| run.order.recipe != self.setup.recipes[selected].recipe)
                {
                    self.leave_run();
                }
                return;
            }
            Key::Esc => {
                self.dialog = None;
                return;
            }
            _ => selected,
        };
        self.dialog = Some(Dialog::Recipe { selected });
    }

    fn save_and_quit(&mut self) -> Vec<Effect> {
        self.dialog = None;
        let Some(run) = self.run.as_mut().filter(|run| run.is_on()) else {
            return self.quit(Goodbye::Quit);
        };
        run.stage = Stage::Stopping;
        self.leaving = true;
        vec![Effect::Control(RunControl::StopAndSave)]
    }

    /// Leaves at once; the run's last checkpoint stays.
    pub(super) fn quit(&mut self, goodbye: Goodbye) -> Vec<Effect> {
        let mut effects = Vec::new();
        if self.preparation.fetching().is_some() {
            effects.push(Effect::CancelFetch);
        }
        effects.extend(
            self.asked.iter().filter(|asked| asked.is_open()).map(|asked| Effect::CancelAsk(asked.id)),
        );
        if self.run_is_on() {
            effects.push(Effect::Control(RunControl::Cancel));
        }
        effects.push(Effect::Quit(goodbye));
        effects
    }
}
