//! What does a report from a worker change?

use super::{App, Dialog, Effect, Goodbye, Progress, Published, Stage, Trouble};
use crate::lab::Contender;
use crate::train::{RunOutcome, TrainEvent};
use crate::worker::{AnswerEvent, AskId, IndexEvent, WorkerEvent};

impl App {
    pub(super) fn listen(&mut self, event: WorkerEvent) -> Vec<Effect> {
        match event {
            WorkerEvent::Train(event) => self.listen_to_trainer(event),
            WorkerEvent::Answer { id, contender, event } => {
                self.listen_to_answerer(id, contender, event);
                Vec::new()
            }
            WorkerEvent::Index(event) => self.listen_to_librarian(event),
            WorkerEvent::BaseRecall { contender, recall, of } => {
                self.base_recall.insert(contender, recall);
                self.base_sample = of;
                Vec::new()
            }
            WorkerEvent::ClaimsJudged(judged) => {
                self.judged(judged);
                Vec::new()
            }
            WorkerEvent::Died { worker, cause } => self.bury(worker, &cause),
        }
    }

    fn listen_to_trainer(&mut self, event: TrainEvent) -> Vec<Effect> {
        let now = self.now;
        match &event {
            TrainEvent::Published { step, adapter } => {
                let (step, adapter, run_no) = (*step, adapter.clone(), self.run_no);
                self.adapter = Some(Published { step, adapter, run_no });
            }
            TrainEvent::Saved { .. } => self.saved_at = Some(now),
            _ => {}
        }
        let Some(run) = &mut self.run else { return Vec::new() };
        let was_on = run.is_on();
        run.note(event);
        match &run.stage {
            Stage::Ended(outcome) if was_on => {
                let outcome = outcome.clone();
                self.run_ended(outcome)
            }
            _ => Vec::new(),
        }
    }

    fn run_ended(&mut self, outcome: RunOutcome) -> Vec<Effect> {
        if self.leaving {
            return vec![Effect::Quit(Goodbye::Quit)];
        }
        if matches!(self.dialog, Some(Dialog::Quit)) {
            self.dialog = None;
        }
        if let RunOutcome::Failed(cause) = outcome {
            let title = "The run has stopped".to_owned();
            let way_out = self.way_out_of_a_run();
            self.open(Dialog::Error(Trouble { title, cause, way_out, retry: false }));
        }
        Vec::new()
    }

    fn way_out_of_a_run(&self) -> String {
        let Some((run, folder)) = self.run.as_ref().and_then(|run| Some((run, run.folder.as_ref()?))) else {
            return "Nothing was trained yet, so nothing is lost. Once this is closed, r chooses another recipe, \
                    and Space tries again."
                .to_owned();
        };
        let folder = folder.display();
        match run.saved {
            Some(step) => format!(
                "The run so far is saved up to step {step} in {folder}. To go on from there: \
                 lorascope train --resume --run {folder}"
            ),
            None => format!("The run was not saved yet; what there is lies in {folder}. Space starts anew."),
        }
    }

    fn listen_to_answerer(&mut self, id: AskId, contender: Contender, event: AnswerEvent) {
        let Some(index) = self.asked.iter().position(|asked| asked.id == id) else { return };
        let now = self.now;
        self.asked[index].note(contender, event, now);
        // The next question comes up when its answer begins, unless the one shown is being read.
        let next_in_line = index == self.shown + 1;
        let read = self.question().is_some_and(|shown| shown.sides.iter().any(|side| side.scroll > 0));
        let done = self.question().is_none_or(|shown| !shown.is_open());
        if next_in_line && done && !read && self.asked[index].is_open() {
            self.look_at(index);
        }
    }

    fn listen_to_librarian(&mut self, event: IndexEvent) -> Vec<Effect> {
        let failed = match &event {
            IndexEvent::Failed(cause) => Some(cause.clone()),
            IndexEvent::Kept(Some(cause)) => {
                self.warn_of_old_documents(cause);
                None
            }
            _ => None,
        };
        self.preparation.note(event);
        if let Some(cause) = failed {
            self.wants_run = false;
            self.open(Dialog::Error(Trouble {
                title: "The lab could not be made ready".to_owned(),
                cause,
                way_out: "What was fetched so far is kept.".to_owned(),
                retry: true,
            }));
        }
        let mut effects = Vec::new();
        if self.preparation.is_ready() {
            if let Some(question) = self.wants_answer.take() {
                effects.extend(self.ask(question));
            }
            if std::mem::take(&mut self.wants_run) {
                effects.extend(self.start_run());
            }
        }
        effects
    }

    /// Says once that documents have changed and cannot be read, when nothing else is being done.
    fn warn_of_old_documents(&mut self, cause: &str) {
        if self.preparation.told.as_deref() == Some(cause) {
            return;
        }
        if self.dialog.is_some() || self.editing {
            return self.say("changed documents cannot be read");
        }
        self.preparation.told = Some(cause.to_owned());
        self.open(Dialog::Error(Trouble {
            title: "The changed documents cannot be read".to_owned(),
            cause: cause.to_owned(),
            way_out: "Until it is mended, answers and runs use the documents as they were before.".to_owned(),
            retry: false,
        }));
    }

    /// A worker panicked: what it was doing is over, the rest goes on.
    fn bury(&mut self, worker: &'static str, cause: &str) -> Vec<Effect> {
        let log = match &self.setup.log {
            Some(log) => format!(" More is in the log: {}", log.display()),
            None => String::new(),
        };
        let failure = format!("the {worker} broke down: {cause}");
        let mut way_out = match worker {
            "trainer" => self.way_out_of_a_run(),
            "answerer" => "Ask again; a run under way is not touched.".to_owned(),
            _ => "Start lorascope again; what was fetched is kept.".to_owned(),
        };
        way_out.push_str(&log);
        if self.preparation.is_ready() {
            self.preparation.indexing = None;
        }
        match (worker, &mut self.run) {
            ("trainer", Some(run)) => run.note(TrainEvent::Ended(RunOutcome::Failed(failure))),
            ("answerer", _) => {
                let failed = Progress::Failed(failure);
                self.asked.iter_mut().for_each(|asked| asked.close(&failed));
            }
            ("librarian", _) if !self.preparation.is_ready() => self.preparation.failed = Some(failure),
            _ => {}
        }
        let (title, cause) = (format!("The {worker} broke down"), cause.to_owned());
        self.open(Dialog::Error(Trouble { title, cause, way_out, retry: false }));
        if self.leaving && worker == "trainer" { vec![Effect::Quit(Goodbye::Quit)] } else { Vec::new() }
    }
}
