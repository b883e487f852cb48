//! Which colour says what on paper? The same as on the screen: the lab's theme has them all.

use ratatui::style::{Color, Style};

use crate::app::Look;
use crate::lab::Contender;
use crate::ui::{Ability, Depth, Glyphs, Theme};

/// A colour, by its meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ink {
    /// What everything stands on.
    Ground,
    /// What is to be read.
    Text,
    /// What is there if one looks for it.
    Quiet,
    /// Rules and axes.
    Faint,
    /// A contender; the training loss has the fine-tuned model's.
    Contender(Contender),
    /// The training loss, step by step.
    Raw,
    /// What was held out.
    Valid,
    /// General text.
    General,
}

impl Ink {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Ground,
        Self::Text,
        Self::Quiet,
        Self::Faint,
        Self::Contender(Contender::Base),
        Self::Contender(Contender::BaseRag),
        Self::Contender(Contender::Tuned),
        Self::Contender(Contender::TunedRag),
        Self::Raw,
        Self::Valid,
        Self::General,
    ];

    /// Its name in style sheets.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ground => "ground",
            Self::Text => "text",
            Self::Quiet => "quiet",
            Self::Faint => "faint",
            Self::Contender(Contender::Base) => "base",
            Self::Contender(Contender::BaseRag) => "base-rag",
            Self::Contender(Contender::Tuned) => "tuned",
            Self::Contender(Contender::TunedRag) => "tuned-rag",
            Self::Raw => "raw",
            Self::Valid => "valid",
            Self::General => "general",
        }
    }

    /// Red, green and blue in the dark or the light look.
    pub fn rgb(self, look: Look) -> (u8, u8, u8) {
        let theme = Theme::new(look, Ability { depth: Depth::True, glyphs: Glyphs::Braille });
        let of = |style: Style| style.fg;
        let colour = match self {
            Self::Ground => theme.ground().bg,
            Self::Text => of(theme.text()),
            Self::Quiet => of(theme.quiet()),
            Self::Faint => of(theme.faint()),
            Self::Contender(contender) => of(theme.contender(contender)),
            Self::Raw => of(theme.raw()),
            Self::Valid => of(theme.valid()),
            Self::General => of(theme.general()),
        };
        match colour {
            Some(Color::Rgb(r, g, b)) => (r, g, b),
            // The look without colours has none to give.
            _ => (0, 0, 0),
        }
    }

    /// The same as pictures and style sheets write it: `#D06800`.
    pub fn hex(self, look: Look) -> String {
        let (r, g, b) = self.rgb(look);
        format!("#{r:02X}{g:02X}{b:02X}")
    }
}
