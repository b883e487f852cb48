//! How is one finding told?

use serde::Serialize;
use serde_json::Value;

/// How a thing was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    /// As it should be.
    Ok,
    /// The lab works, with less comfort or speed.
    Note,
    /// Without it the lab cannot work.
    Missing,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Check {
    pub(super) about: String,
    pub(super) state: State,
    /// What was found, in words.
    pub(super) what: String,
    /// What to do about it.
    pub(super) remedy: Option<String>,
    /// The same for programs.
    pub(super) values: Value,
}

impl Check {
    fn new(about: &str, state: State, what: impl Into<String>, remedy: Option<&str>) -> Self {
        let remedy = remedy.map(str::to_owned);
        Self { about: about.to_owned(), state, what: what.into(), remedy, values: Value::Null }
    }

    pub(super) fn ok(about: &str, what: impl Into<String>) -> Self {
        Self::new(about, State::Ok, what, None)
    }

    pub(super) fn note(about: &str, what: impl Into<String>, remedy: &str) -> Self {
        Self::new(about, State::Note, what, Some(remedy))
    }

    /// Without a remedy where the words say it already.
    pub(super) fn missing(about: &str, what: impl Into<String>, remedy: Option<&str>) -> Self {
        Self::new(about, State::Missing, what, remedy)
    }

    pub(super) fn with(self, values: Value) -> Self {
        Self { values, ..self }
    }

    /// One line; `width` is that of the longest subject.
    pub(super) fn line(&self, width: usize) -> String {
        let state = match self.state {
            State::Ok => "OK",
            State::Note => "note",
            State::Missing => "missing",
        };
        let remedy = self.remedy.as_ref().map(|remedy| format!("; {remedy}")).unwrap_or_default();
        format!("{state:<7}  {:<width$}  {}{remedy}", self.about, self.what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_state_subject_finding_and_remedy() {
        assert_eq!(Check::ok("disk", "5 GB free").line(6), "OK       disk    5 GB free");
        let note = Check::note("locale", "not UTF-8", "set LANG");
        assert_eq!(note.line(6), "note     locale  not UTF-8; set LANG");
        assert_eq!(Check::missing("x", "gone", None).line(1), "missing  x  gone");
    }
}
