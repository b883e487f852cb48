//! What does the lab know about the article's claims?

use super::{App, Effect, Key, View};
use crate::lab::claims::{Claim, Judged};

/// The claims, as far as the runs were looked at.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) enum Verdicts {
    /// Not yet.
    #[default]
    Unread,
    /// Each claim with what the runs show.
    Judged(Vec<Judged>),
    /// The runs could not be read; the cause.
    Failed(String),
}

impl App {
    /// Shows the claims, looked at anew each time: a run may have ended meanwhile.
    pub(super) fn show_claims(&mut self) -> Vec<Effect> {
        if self.view == View::Claims {
            self.view = View::Lab;
            return Vec::new();
        }
        self.view = View::Claims;
        vec![Effect::JudgeClaims]
    }

    pub(super) fn judged(&mut self, judged: Result<Vec<Judged>, String>) {
        self.verdicts = match judged {
            Ok(judged) => Verdicts::Judged(judged),
            Err(cause) => Verdicts::Failed(cause),
        };
    }

    /// Moves to another claim; whether the key does that.
    pub(super) fn act_on_claims(&mut self, key: Key) -> bool {
        let last = Claim::ALL.len() - 1;
        self.claim = match key {
            Key::Up => self.claim.saturating_sub(1),
            Key::Down => (self.claim + 1).min(last),
            Key::Home => 0,
            Key::End => last,
            _ => return false,
        };
        self.claim_scroll = 0;
        true
    }
}
