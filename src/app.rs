//! What does the lab know, and what does it do when something happens?
//!
//! State only: no clock (ticks carry the time), no files, no threads. [`App::update`] takes one
//! [`Event`] and says in [`Effect`]s what is to be done about it.

mod act;
mod action;
mod asked;
mod board;
mod claims;
mod ending;
mod key;
mod line;
mod listen;
mod preparation;
mod run;
pub(crate) mod sentence;
mod series;
pub(crate) mod words;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use action::Action;
pub(crate) use action::{EDITING, HELP};
pub use asked::Progress;
pub(crate) use asked::{Asked, Side, Verdict};
pub(crate) use board::{Board, COLUMNS, Counts, Standing};
pub(crate) use claims::Verdicts;
pub use key::Key;
pub use line::Line;
pub use preparation::Fetch;
pub(crate) use preparation::Preparation;
pub(crate) use run::Run;
pub use run::Stage;
pub use series::{Series, Smooth, Stretch};

use crate::lab::Contender;
use crate::model::Adapter;
use crate::train::Recall;
use crate::worker::{AskId, AskOrder, RunControl, TrainOrder, WorkerEvent};

/// Something that happened. Consumed only by [`App::update`].
#[derive(Debug, Clone)]
pub enum Event {
    /// A key was pressed.
    Pressed(Key),
    /// Text was pasted.
    Pasted(String),
    /// The terminal has a new size.
    Resized,
    /// Time has passed: this much since the start.
    Ticked(Duration),
    /// A worker reported.
    Worker(WorkerEvent),
    /// The system wants the program to end.
    Signalled(Goodbye),
    /// A frame was drawn, and this is how far its text can be scrolled; `None` where the screen is too small.
    Drawn(Option<Reach>),
}

/// Something to be done. Carried out by the event loop.
#[derive(Debug, Clone)]
pub enum Effect {
    /// Get models, corpus and index ready.
    Prepare,
    /// Make a run.
    Train(TrainOrder),
    /// Steer the run.
    Control(RunControl),
    /// Answer a question.
    Ask(AskOrder),
    /// Give up a question.
    CancelAsk(AskId),
    /// Give up fetching models.
    CancelFetch,
    /// Look at all runs, and say which of the article's claims they bear out.
    JudgeClaims,
    /// Leave.
    Quit(Goodbye),
}

/// Why the lab is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goodbye {
    /// The user asked for it.
    Quit,
    /// Ctrl-C.
    Interrupted,
    /// The system wants the program to end, or the terminal is gone.
    Terminated,
}

/// How far the text that scrolls at present goes beyond its place.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reach {
    /// Lines that can be scrolled away above.
    pub lines: usize,
    /// Lines shown at once.
    pub page: usize,
}

/// What the lab is opened with.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The model's name, as it is to be shown.
    pub model: String,
    /// The corpus's name, as it is to be shown.
    pub corpus: String,
    /// The runs that can be chosen, one a recipe; the first is the default. At least one.
    pub recipes: Vec<TrainOrder>,
    /// Where the log is written, for error messages.
    pub log: Option<PathBuf>,
    /// The colours to begin with.
    pub look: Look,
    /// Why the terminal shows no colours, if it shows none.
    pub colourless: Option<&'static str>,
}

/// Dark, light or without colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Look {
    /// Light text on a dark ground.
    #[default]
    Dark,
    /// Dark text on a light ground.
    Light,
    /// No colours.
    Mono,
}

/// A part of the screen that can be looked at alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pane {
    /// The loss chart.
    Loss,
    /// The perplexity chart.
    Perplexity,
    /// The answer on the left: base + RAG.
    Left,
    /// The answer on the right: the fine-tuned model.
    Right,
}

impl Pane {
    const ALL: [Self; 4] = [Self::Loss, Self::Perplexity, Self::Left, Self::Right];

    /// The side of the split pane, 0 or 1.
    pub(crate) fn side(self) -> Option<usize> {
        match self {
            Self::Left => Some(0),
            Self::Right => Some(1),
            Self::Loss | Self::Perplexity => None,
        }
    }
}

/// What fills the screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum View {
    /// Everything.
    #[default]
    Lab,
    /// The focused pane alone.
    Zoom,
    /// The exact prompts, side by side.
    Prompt,
    /// The facts of the corpus, and which of them are in.
    Facts,
    /// The article's claims, and which of them hold here.
    Claims,
}

/// What lies over the screen and takes the keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Dialog {
    Help,
    Data,
    Recipe { selected: usize },
    Quit,
    Error(Trouble),
}

/// What went wrong, and the way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trouble {
    pub(crate) title: String,
    pub(crate) cause: String,
    pub(crate) way_out: String,
    /// Getting ready can be tried again.
    pub(crate) retry: bool,
}

/// The newest weights a run has published.
#[derive(Debug, Clone)]
pub(crate) struct Published {
    pub(crate) step: usize,
    pub(crate) adapter: Arc<Adapter>,
    /// Which run of this lab they come from.
    pub(crate) run_no: usize,
}

/// The lab.
#[derive(Debug)]
pub struct App {
    pub(crate) setup: Setup,
    /// The recipe of the next run.
    pub(crate) chosen: usize,
    pub(crate) now: Duration,
    pub(crate) preparation: Preparation,
    pub(crate) run: Option<Run>,
    pub(crate) run_no: usize,
    pub(crate) adapter: Option<Published>,
    /// Recall of unseen wordings of those who were not tuned.
    pub(crate) base_recall: BTreeMap<Contender, Recall>,
    /// Questions that base and base + RAG will have been asked for it.
    base_sample: usize,
    pub(crate) line: Line,
    pub(crate) editing: bool,
    pub(crate) asked: Vec<Asked>,
    /// The question whose answers are shown.
    pub(crate) shown: usize,
    pub(crate) focus: Pane,
    pub(crate) view: View,
    pub(crate) dialog: Option<Dialog>,
    /// A dialog that the question of `q` stands before, on a screen too small for it.
    behind: Option<Dialog>,
    pub(crate) look: Look,
    /// Who is to answer on the right, if the user has chosen.
    pub(crate) right: Option<Contender>,
    /// A run is to start as soon as all is ready.
    pub(crate) wants_run: bool,
    /// A question to be asked as soon as all is ready.
    pub(crate) wants_answer: Option<String>,
    /// A short remark, and when it goes.
    pub(crate) notice: Option<(String, Duration)>,
    pub(crate) saved_at: Option<Duration>,
    /// Leave when the run has ended.
    pub(crate) leaving: bool,
    pub(crate) prompt_scroll: [usize; 2],
    pub(crate) dialog_scroll: usize,
    pub(crate) verdicts: Verdicts,
    /// The claim that is looked at.
    pub(crate) claim: usize,
    /// Lines of what is known about it that are scrolled away above.
    pub(crate) claim_scroll: usize,
    /// `None` where the screen is too small: what a key does would not be seen.
    reach: Option<Reach>,
    next_id: u64,
}

impl App {
    /// How much of the corpus's questions an untuned contender answers; nothing beside a run whose questions are
    /// those of a task.
    pub(crate) fn rival(&self, contender: Contender) -> Option<Recall> {
        let of_task = self.run.as_ref().is_some_and(Run::is_task);
        self.base_recall.get(&contender).copied().filter(|_| !of_task)
    }

    /// Whether an untuned contender was asked all its questions: until then its recall still moves.
    pub(crate) fn is_whole(&self, rival: Recall) -> bool {
        rival.n >= self.base_sample
    }

    /// The lab before anything has happened.
    pub fn new(setup: Setup) -> Self {
        Self {
            look: setup.look,
            setup,
            chosen: 0,
            now: Duration::ZERO,
            preparation: Preparation::default(),
            run: None,
            run_no: 0,
            adapter: None,
            base_recall: BTreeMap::new(),
            base_sample: 0,
            line: Line::default(),
            editing: false,
            asked: Vec::new(),
            shown: 0,
            focus: Pane::Loss,
            view: View::Lab,
            dialog: None,
            behind: None,
            right: None,
            wants_run: false,
            wants_answer: None,
            notice: None,
            saved_at: None,
            leaving: false,
            prompt_scroll: [0; 2],
            dialog_scroll: 0,
            verdicts: Verdicts::default(),
            claim: 0,
            claim_scroll: 0,
            reach: Some(Reach::default()),
            next_id: 1,
        }
    }

    /// What is to be done first.
    pub fn start(&self) -> Vec<Effect> {
        vec![Effect::Prepare]
    }

    /// Takes note of what happened and says what is to be done about it.
    pub fn update(&mut self, event: Event) -> Vec<Effect> {
        match event {
            Event::Pressed(key) => self.press(key),
            Event::Pasted(text) => {
                if self.dialog.is_none() && self.reach.is_some() {
                    self.edit_question();
                    self.line.insert(&text);
                }
                Vec::new()
            }
            Event::Resized => Vec::new(),
            Event::Ticked(now) => {
                self.now = self.now.max(now);
                self.notice = self.notice.take().filter(|(_, until)| *until > self.now);
                Vec::new()
            }
            Event::Worker(event) => self.listen(event),
            Event::Signalled(goodbye) => self.quit(goodbye),
            Event::Drawn(reach) => {
                self.reach = reach;
                Vec::new()
            }
        }
    }

    /// Whether something on the screen changes with time alone.
    pub fn is_live(&self) -> bool {
        self.run.as_ref().is_some_and(Run::is_on)
            || !(self.preparation.is_ready() || self.preparation.failed.is_some())
            || self.notice.is_some()
            || self.asked.iter().any(Asked::is_open)
    }

    /// The colours asked for.
    pub fn look(&self) -> Look {
        self.look
    }

    /// Where the log is written.
    pub fn log(&self) -> Option<PathBuf> {
        self.setup.log.clone()
    }

    /// The folder of the run on the screen, once it has one.
    pub fn run_folder(&self) -> Option<&PathBuf> {
        self.run.as_ref()?.folder.as_ref()
    }

    /// Whether the run goes on, or is about to.
    pub(crate) fn run_is_on(&self) -> bool {
        self.run.as_ref().is_some_and(Run::is_on)
    }

    /// The order of the run on the screen, or of the next one.
    pub(crate) fn order(&self) -> Option<&TrainOrder> {
        self.run.as_ref().map(|run| &run.order).or_else(|| self.setup.recipes.get(self.chosen))
    }

    /// The question whose answers are shown.
    pub(crate) fn question(&self) -> Option<&Asked> {
        self.asked.get(self.shown)
    }

    /// Who answers on the right: the user's choice, or the fine-tuned model once there is one.
    pub(crate) fn right_side(&self) -> Contender {
        match (self.right, &self.adapter) {
            (Some(chosen), Some(_)) => chosen,
            (None, Some(_)) => Contender::Tuned,
            (_, None) => Contender::Base,
        }
    }

    /// An answer is being written, or about to be.
    pub(crate) fn is_answering(&self) -> bool {
        self.asked.iter().any(Asked::is_open)
    }

    /// The suggested questions, as long as they are on the screen.
    pub(crate) fn suggestions(&self) -> &[String] {
        match &self.preparation.stock {
            Some(stock) if self.asked.is_empty() => &stock.suggestions[..stock.suggestions.len().min(5)],
            _ => &[],
        }
    }

    fn say(&mut self, remark: impl Into<String>) {
        self.notice = Some((remark.into(), self.now + Duration::from_secs(4)));
    }
}

#[cfg(test)]
mod tests;
