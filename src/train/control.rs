//! How is a run paused, stopped and given up from outside?

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// An order to a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunControl {
    /// Wait after the step under way.
    Pause,
    /// Go on.
    Resume,
    /// Save and end as completed.
    StopAndSave,
    /// Give up; the last checkpoint stays.
    Cancel,
}

/// What a run should do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Wish {
    /// Go on.
    #[default]
    Run,
    /// Wait: the user asked for it, or an answer is being written.
    Wait,
    /// Save and end.
    StopAndSave,
    /// End.
    Cancel,
}

#[derive(Debug, Default)]
struct State {
    order: Wish,
    n_answers: usize,
}

/// The run's controls, shared between whoever steers and the training loop, which looks at them
/// between steps.
#[derive(Debug, Clone, Default)]
pub struct RunControls(Arc<(Mutex<State>, Condvar)>);

/// While one of these lives, the run waits between steps: an answer is being written.
#[derive(Debug)]
pub struct AnswerGuard(RunControls);

impl RunControls {
    /// A run that goes on.
    pub fn new() -> Self {
        Self::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives an order. Stopping and cancelling can't be taken back.
    pub fn order(&self, control: RunControl) {
        let mut state = self.state();
        state.order = match (state.order, control) {
            (Wish::Cancel, _) | (_, RunControl::Cancel) => Wish::Cancel,
            (Wish::StopAndSave, _) | (_, RunControl::StopAndSave) => Wish::StopAndSave,
            (_, RunControl::Pause) => Wish::Wait,
            (_, RunControl::Resume) => Wish::Run,
        };
        self.0.1.notify_all();
    }

    /// Makes the run wait between steps until the guard is dropped.
    pub fn answering(&self) -> AnswerGuard {
        self.state().n_answers += 1;
        AnswerGuard(self.clone())
    }

    /// What to do now.
    pub fn wish(&self) -> Wish {
        let state = self.state();
        match state.order {
            Wish::Run if state.n_answers > 0 => Wish::Wait,
            order => order,
        }
    }

    /// Whether the run should end, now or with its work saved.
    pub fn is_ending(&self) -> bool {
        matches!(self.state().order, Wish::StopAndSave | Wish::Cancel)
    }

    /// Sleeps while an answer is being written; a run that is paused or ends is not held up.
    pub fn give_way(&self) {
        let mut state = self.state();
        while state.n_answers > 0 && state.order == Wish::Run {
            state = self.0.1.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Sleeps until there is something else to do than wait.
    pub fn wait(&self) -> Wish {
        loop {
            let wish = self.wish();
            if wish != Wish::Wait {
                return wish;
            }
            let state = self.state();
            drop(self.0.1.wait_timeout(state, Duration::from_millis(200)));
        }
    }
}

impl Drop for AnswerGuard {
    fn drop(&mut self) {
        self.0.state().n_answers -= 1;
        self.0.0.1.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_makes_the_run_wait_and_an_end_is_final() {
        let controls = RunControls::new();
        let guard = controls.answering();
        assert_eq!(controls.wish(), Wish::Wait);
        let waiting = controls.clone();
        let waiting = std::thread::spawn(move || waiting.give_way());
        drop(guard);
        waiting.join().unwrap();
        assert_eq!(controls.wish(), Wish::Run);
        controls.order(RunControl::Pause);
        assert_eq!(controls.wish(), Wish::Wait);
        controls.order(RunControl::StopAndSave);
        controls.order(RunControl::Resume);
        assert_eq!(controls.wait(), Wish::StopAndSave);
        controls.order(RunControl::Cancel);
        assert_eq!(controls.wish(), Wish::Cancel);
    }
}
