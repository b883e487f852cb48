//! What does a key do where the focus is?

use super::action::{Action, in_ask_line, in_lab};
use super::{App, Asked, COLUMNS, Dialog, Effect, Goodbye, Key, Look, Pane, Progress, Stage, View};
use crate::lab::Contender;
use crate::worker::{AskId, AskOrder, RunControl};

/// Questions kept with their answers.
const KEPT: usize = 100;
/// Questions that may wait for their turn.
const WAITING: usize = 8;

impl App {
    pub(super) fn press(&mut self, key: Key) -> Vec<Effect> {
        if key == Key::Ctrl('c') {
            return self.quit(Goodbye::Interrupted);
        }
        if self.reach.is_none() {
            return self.press_unseen(key);
        }
        if self.dialog.is_some() {
            return self.press_in_dialog(key);
        }
        if self.editing {
            if let Some(action) = in_ask_line(key) {
                return self.act(action, key);
            }
            self.edit(key);
            return Vec::new();
        }
        if self.view == View::Facts
            && let Some(effects) = self.act_on_board(key)
        {
            return effects;
        }
        if self.view == View::Claims && self.act_on_claims(key) {
            return Vec::new();
        }
        in_lab(key).map(|action| self.act(action, key)).unwrap_or_default()
    }

    fn edit(&mut self, key: Key) {
        let line = &mut self.line;
        match key {
            Key::Char(c) => line.insert(c.encode_utf8(&mut [0; 4])),
            Key::Left => line.left(),
            Key::Right => line.right(),
            Key::WordLeft | Key::Alt('b') => line.word_left(),
            Key::WordRight | Key::Alt('f') => line.word_right(),
            Key::Home | Key::Ctrl('a') => line.home(),
            Key::End | Key::Ctrl('e') => line.end(),
            Key::Backspace | Key::Ctrl('h') => line.backspace(),
            Key::Delete | Key::Ctrl('d') => line.delete_forward(),
            Key::Ctrl('w') => line.delete_word(),
            Key::Ctrl('u') => line.delete_to_start(),
            Key::Ctrl('k') => line.delete_to_end(),
            Key::Up => line.older(),
            Key::Down => line.newer(),
            _ => {}
        }
    }

    fn act(&mut self, action: Action, key: Key) -> Vec<Effect> {
        match action {
            Action::ToggleRun => return self.toggle_run(),
            Action::StopAndSave => return self.stop_and_save(),
            Action::ChooseRecipe if self.preparation.failed.is_some() => return self.prepare_again(),
            Action::ChooseRecipe => self.choose_recipe(),
            Action::ShowData => self.show_data(),
            Action::EditQuestion => self.edit_question(),
            Action::Ask => return self.send(),
            Action::AskSuggestion => return self.ask_suggestion(key),
            Action::Back => return self.back(),
            Action::Older => self.look_at(self.shown.saturating_sub(1)),
            Action::Newer => self.look_at(self.shown + 1),
            Action::SwitchContender => return self.switch_contender(),
            Action::NextPane => self.step_focus(1),
            Action::PreviousPane => self.step_focus(Pane::ALL.len() - 1),
            Action::Zoom => self.view = if self.view == View::Zoom { View::Lab } else { View::Zoom },
            Action::ShowPrompt => self.show_prompt(),
            Action::ShowFacts => self.show_facts(),
            Action::ShowClaims => return self.show_claims(),
            Action::ScrollUp | Action::ScrollDown => self.scroll(key),
            Action::SwitchTheme => self.switch_theme(),
            Action::Help => self.open(Dialog::Help),
            Action::Quit if self.run_is_on() => self.open(Dialog::Quit),
            Action::Quit => return self.quit(Goodbye::Quit),
            Action::Interrupt => return self.quit(Goodbye::Interrupted),
        }
        Vec::new()
    }

    pub(super) fn open(&mut self, dialog: Dialog) {
        self.dialog_scroll = 0;
        self.dialog = Some(dialog);
    }

    fn toggle_run(&mut self) -> Vec<Effect> {
        let ready = self.preparation.is_ready();
        match &mut self.run {
            Some(run) if run.is_on() => match run.stage {
                Stage::Training => {
                    run.stage = Stage::Pausing;
                    vec![Effect::Control(RunControl::Pause)]
                }
                Stage::Pausing | Stage::Paused => {
                    run.stage = Stage::Training;
                    vec![Effect::Control(RunControl::Resume)]
                }
                Stage::Preparing | Stage::Stopping | Stage::Ended(_) => Vec::new(),
            },
            _ if ready => self.start_run(),
            _ if self.preparation.failed.is_some() => self.prepare_again(),
            _ => {
                self.wants_run = !self.wants_run;
                Vec::new()
            }
        }
    }

    fn stop_and_save(&mut self) -> Vec<Effect> {
        match &mut self.run {
            Some(run) if run.stage == Stage::Stopping => Vec::new(),
            Some(run) if run.is_on() => {
                run.stage = Stage::Stopping;
                vec![Effect::Control(RunControl::StopAndSave)]
            }
            _ => {
                self.say("no run is on that could be stopped");
                Vec::new()
            }
        }
    }

    fn choose_recipe(&mut self) {
        if self.run_is_on() {
            self.say("the recipe can be chosen when the run is over");
        } else {
            self.open(Dialog::Recipe { selected: self.chosen });
        }
    }

    fn show_data(&mut self) {
        if self.run.as_ref().is_some_and(|run| run.check.is_some()) {
            self.open(Dialog::Data);
        } else {
            self.say("the data is looked at when a run starts");
        }
    }

    pub(super) fn edit_question(&mut self) {
        self.editing = true;
        if matches!(self.view, View::Prompt | View::Facts | View::Claims) {
            self.view = View::Lab;
        }
    }

    fn send(&mut self) -> Vec<Effect> {
        if !self.editing {
            self.edit_question();
            return Vec::new();
        }
        match self.line.send() {
            Some(question) => {
                self.editing = false;
                self.focus = if self.focus == Pane::Right { Pane::Right } else { Pane::Left };
                if self.view == View::Prompt {
                    self.view = View::Lab;
                }
                self.ask(question)
            }
            None => Vec::new(),
        }
    }

    fn ask_suggestion(&mut self, key: Key) -> Vec<Effect> {
        let Key::Char(digit) = key else { return Vec::new() };
        let index = digit.to_digit(10).unwrap_or(1).saturating_sub(1) as usize;
        let Some(question) = self.suggestions().get(index).cloned() else {
            self.say("no such suggestion: i asks a question of your own");
            return Vec::new();
        };
        self.line.remember(&question);
        self.focus = Pane::Left;
        self.ask(question)
    }

    /// Puts a question to both sides, or keeps it till all is ready.
    pub(super) fn ask(&mut self, question: String) -> Vec<Effect> {
        self.put(question, &[])
    }

    /// Puts a question to every contender there is.
    fn ask_everybody(&mut self, question: String) -> Vec<Effect> {
        let all: &[Contender] = if self.adapter.is_some() { &Contender::ALL } else { &[] };
        self.put(question, all)
    }

    /// Puts a question to both sides, and to those of `more` that are on neither.
    fn put(&mut self, question: String, more: &[Contender]) -> Vec<Effect> {
        if !self.preparation.is_ready() {
            self.wants_answer = Some(question);
            return Vec::new();
        }
        if self.asked.iter().filter(|asked| asked.is_open()).count() > WAITING {
            self.say(format!("{WAITING} questions wait already"));
            return Vec::new();
        }
        let id = AskId(self.next_id);
        self.next_id += 1;
        let contenders = [Contender::BaseRag, self.right_side()];
        let adapter = self.adapter.as_ref().map(|newest| (newest.step, newest.adapter.clone()));
        let mut asked = Asked::new(id, question.clone(), contenders).and(more);
        if let Some(weights) = &self.adapter {
            asked.with(weights, self.run_no);
        }
        let contenders = asked.everybody().map(|side| side.contender).collect();
        let follows = self.question().is_none_or(|shown| !shown.is_open());
        self.asked.push(asked);
        if self.asked.len() > KEPT {
            self.asked.remove(0);
            self.shown = self.shown.saturating_sub(1);
        }
        if follows {
            self.look_at(self.asked.len() - 1);
        }
        vec![Effect::Ask(AskOrder { id, question, contenders, adapter })]
    }

    pub(super) fn look_at(&mut self, index: usize) {
        let index = index.min(self.asked.len().saturating_sub(1));
        if index != self.shown {
            (self.shown, self.prompt_scroll) = (index, [0; 2]);
        }
    }

    fn back(&mut self) -> Vec<Effect> {
        if self.editing {
            self.editing = false;
        } else if self.view != View::Lab {
            self.view = View::Lab;
        } else if self.wants_answer.is_some() {
            self.wants_answer = None;
        } else if let Some(asked) = self.asked.iter_mut().find(|asked| asked.is_open()) {
            asked.close(&Progress::Cancelled);
            return vec![Effect::CancelAsk(asked.id)];
        }
        Vec::new()
    }

    fn switch_contender(&mut self) -> Vec<Effect> {
        if self.adapter.is_none() {
            self.say("nothing is tuned yet: Space starts a run");
            return Vec::new();
        }
        self.right = Some(match self.right_side() {
            Contender::Tuned => Contender::TunedRag,
            Contender::TunedRag => Contender::Base,
            Contender::Base | Contender::BaseRag => Contender::Tuned,
        });
        match self.question() {
            Some(asked) if !asked.is_open() => self.ask(asked.question.clone()),
            _ => Vec::new(),
        }
    }

    fn step_focus(&mut self, by: usize) {
        self.editing = false;
        let at = Pane::ALL.iter().position(|pane| *pane == self.focus).unwrap_or(0);
        self.focus = match self.view {
            View::Prompt if self.focus == Pane::Left => Pane::Right,
            View::Prompt => Pane::Left,
            View::Lab | View::Zoom | View::Facts | View::Claims => Pane::ALL[(at + by) % Pane::ALL.len()],
        };
    }

    fn show_prompt(&mut self) {
        if self.view == View::Prompt {
            self.view = View::Lab;
        } else if self.asked.is_empty() {
            self.say("ask something first: i");
        } else {
            self.view = View::Prompt;
            if self.focus.side().is_none() {
                self.focus = Pane::Left;
            }
        }
    }

    fn show_facts(&mut self) {
        if self.view == View::Facts {
            self.view = View::Lab;
        } else if self.run.as_ref().is_some_and(|run| run.board.len() > 0) {
            self.view = View::Facts;
        } else {
            let none = self.preparation.stock.as_ref().is_some_and(|stock| stock.n_facts == 0);
            self.say(if none {
                "this corpus has no facts.jsonl"
            } else {
                "facts are watched once a run on the corpus has begun"
            });
        }
    }

    /// Moves on the board, or asks about the fact that is looked at; `None` for keys that mean there what they mean
    /// everywhere.
    fn act_on_board(&mut self, key: Key) -> Option<Vec<Effect>> {
        let board = &mut self.run.as_mut()?.board;
        let row = COLUMNS as isize;
        match key {
            Key::Left => board.go(-1),
            Key::Right => board.go(1),
            Key::Up => board.go(-row),
            Key::Down => board.go(row),
            Key::PageUp => board.go(-4 * row),
            Key::PageDown => board.go(4 * row),
            Key::Enter => {
                let question = board.cells.as_deref()?.get(board.selected)?.question.clone();
                self.line.remember(&question);
                return Some(self.ask_everybody(question));
            }
            _ => return None,
        }
        Some(Vec::new())
    }

    fn switch_theme(&mut self) {
        if let Some(why) = self.setup.colourless {
            return self.say(format!("no colours: {why}"));
        }
        let (look, name) = match self.look {
            Look::Dark => (Look::Light, "light"),
            Look::Light => (Look::Mono, "no colours"),
            Look::Mono => (Look::Dark, "dark"),
        };
        self.look = look;
        self.say(name);
    }

    /// Scrolls what has the focus, never beyond what the last frame could show.
    pub(super) fn scroll(&mut self, key: Key) {
        let reach = self.reach.unwrap_or_default();
        let (reach, page) = (reach.lines, reach.page.saturating_sub(1).max(1));
        let scroll = if self.dialog.is_some() {
            &mut self.dialog_scroll
        } else {
            let side = self.focus.side();
            if self.view != View::Claims && side.is_none() {
                return;
            }
            let side = side.unwrap_or_default();
            match (self.view, self.asked.get_mut(self.shown)) {
                (View::Claims, _) => &mut self.claim_scroll,
                (View::Prompt, _) => &mut self.prompt_scroll[side],
                (_, Some(asked)) => &mut asked.sides[side].scroll,
                (_, None) => return,
            }
        };
        *scroll = match key {
            Key::Up => scroll.saturating_sub(1),
            Key::Down => *scroll + 1,
            Key::PageUp => scroll.saturating_sub(page),
            _ => *scroll + page,
        }
        .min(reach);
    }
}
