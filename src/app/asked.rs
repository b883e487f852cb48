//! What was asked, and how far are the answers?

use std::time::Duration;

use super::Published;
use crate::lab::{Answer, Contender};
use crate::rag::Passage;
use crate::worker::{AnswerEvent, AskId};

/// How far one side's answer is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// Older questions, or the other side, come first.
    Waiting,
    /// The model reads the prompt.
    Reading,
    /// Words are coming.
    Writing,
    /// Complete.
    Answered,
    /// The user gave it up.
    Cancelled,
    /// It could not be answered; the cause.
    Failed(String),
}

/// Whether an answer is right, and what would have been.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) right: bool,
    pub(crate) gold: Vec<String>,
}

/// One side of a question.
#[derive(Debug, Clone)]
pub(crate) struct Side {
    pub(crate) contender: Contender,
    /// The step of the weights it answers with.
    pub(crate) step: Option<usize>,
    /// These weights come from the run before the one on the screen.
    pub(crate) run_before: bool,
    pub(crate) progress: Progress,
    pub(crate) text: String,
    pub(crate) passages: Vec<Passage>,
    /// How many of the passages are in the prompt.
    pub(crate) n_used: usize,
    pub(crate) prompt: String,
    pub(crate) verdict: Option<Verdict>,
    /// The complete answer, with its times.
    pub(crate) answer: Option<Answer>,
    /// When it was first heard of, on the app's clock.
    pub(crate) since: Option<Duration>,
    /// Lines scrolled away above.
    pub(crate) scroll: usize,
}

impl Side {
    fn new(contender: Contender) -> Self {
        Self {
            contender,
            step: None,
            run_before: false,
            progress: Progress::Waiting,
            text: String::new(),
            passages: Vec::new(),
            n_used: 0,
            prompt: String::new(),
            verdict: None,
            answer: None,
            since: None,
            scroll: 0,
        }
    }

    /// Whether more may come.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.progress, Progress::Waiting | Progress::Reading | Progress::Writing)
    }

    /// Gives it up, if it is still open.
    pub(crate) fn close(&mut self, progress: Progress) {
        if self.is_open() {
            self.progress = progress;
        }
    }

    fn note(&mut self, event: AnswerEvent, now: Duration) {
        if let AnswerEvent::Judged { gold, right } = event {
            self.verdict = Some(Verdict { right, gold });
            return;
        }
        if !self.is_open() {
            return;
        }
        self.since.get_or_insert(now);
        match event {
            AnswerEvent::Prompted { passages, n_used, prompt } => {
                (self.passages, self.n_used, self.prompt) = (passages, n_used, prompt);
                self.progress = Progress::Reading;
            }
            AnswerEvent::Streamed(text) => {
                self.text.push_str(&text);
                self.progress = Progress::Writing;
            }
            AnswerEvent::Answered(answer) => {
                self.text.clone_from(&answer.text);
                self.step = answer.step;
                if self.prompt.is_empty() {
                    self.prompt.clone_from(&answer.prompt);
                }
                self.answer = Some(answer);
                self.progress = Progress::Answered;
            }
            AnswerEvent::Failed(cause) => self.progress = Progress::Failed(cause),
            AnswerEvent::Judged { .. } => {}
        }
    }
}

/// A question and its two sides.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) id: AskId,
    pub(crate) question: String,
    pub(crate) sides: [Side; 2],
    /// Who else was asked.
    pub(crate) beside: Vec<Side>,
}

impl Asked {
    pub(crate) fn new(id: AskId, question: String, contenders: [Contender; 2]) -> Self {
        Self { id, question, sides: contenders.map(Side::new), beside: Vec::new() }
    }

    /// Asks these too, where they are not on a side.
    pub(crate) fn and(mut self, more: &[Contender]) -> Self {
        let is_new = |contender: &&Contender| self.sides.iter().all(|side| side.contender != **contender);
        self.beside = more.iter().filter(is_new).map(|contender| Side::new(*contender)).collect();
        self
    }

    /// All that were asked, both sides first.
    pub(crate) fn everybody(&self) -> impl Iterator<Item = &Side> {
        self.sides.iter().chain(&self.beside)
    }

    fn everybody_mut(&mut self) -> impl Iterator<Item = &mut Side> {
        self.sides.iter_mut().chain(&mut self.beside)
    }

    /// Says with which weights the tuned side answers; `run_no` is the run on the screen.
    pub(crate) fn with(&mut self, weights: &Published, run_no: usize) {
        for side in self.everybody_mut().filter(|side| side.contender.is_tuned()) {
            side.step = Some(weights.step);
            side.run_before = weights.run_no != run_no;
        }
    }

    /// Notes that another run has the screen now.
    pub(super) fn outlive_run(&mut self) {
        for side in self.everybody_mut().filter(|side| side.contender.is_tuned()) {
            side.run_before = true;
        }
    }

    /// Whether one side may still say more.
    pub(crate) fn is_open(&self) -> bool {
        self.everybody().any(Side::is_open)
    }

    /// Closes what is open.
    pub(crate) fn close(&mut self, progress: &Progress) {
        self.everybody_mut().for_each(|side| side.close(progress.clone()));
    }

    /// Takes note of what one side did.
    pub(crate) fn note(&mut self, contender: Contender, event: AnswerEvent, now: Duration) {
        if let Some(side) = self.everybody_mut().find(|side| side.contender == contender) {
            side.note(event, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked() -> Asked {
        Asked::new(AskId(1), "Who?".into(), [Contender::BaseRag, Contender::Tuned])
    }

    #[test]
    fn each_side_takes_its_own_text() {
        let mut asked = asked();
        asked.note(Contender::Tuned, AnswerEvent::Streamed("Ann".into()), Duration::ZERO);
        asked.note(Contender::BaseRag, AnswerEvent::Streamed("Bob".into()), Duration::ZERO);
        asked.note(Contender::Tuned, AnswerEvent::Streamed("a.".into()), Duration::ZERO);
        asked.note(Contender::Base, AnswerEvent::Streamed("lost".into()), Duration::ZERO);
        assert_eq!((asked.sides[0].text.as_str(), asked.sides[1].text.as_str()), ("Bob", "Anna."));
    }

    #[test]
    fn a_side_given_up_hears_no_more() {
        let mut asked = asked();
        asked.note(Contender::Tuned, AnswerEvent::Streamed("Ann".into()), Duration::ZERO);
        asked.close(&Progress::Cancelled);
        asked.note(Contender::Tuned, AnswerEvent::Streamed("abel".into()), Duration::ZERO);
        asked.note(Contender::Tuned, AnswerEvent::Failed("interrupted".into()), Duration::ZERO);
        assert_eq!(asked.sides[1].text, "Ann");
        assert_eq!(asked.sides[1].progress, Progress::Cancelled);
        assert!(!asked.is_open());
    }
}
