//! Which colour, marker and line says what? One meaning each, on the whole screen.

use ratatui::style::{Color, Modifier, Style};

use crate::app::Look;
use crate::lab::Contender;

/// How many colours the terminal shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// 24 bits.
    True,
    /// The palette of 256.
    Indexed,
    /// The 16 named ones.
    Named,
    /// None: `NO_COLOR`, or a terminal that has none.
    None,
}

/// Which characters the terminal shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Glyphs {
    /// Braille dots and block elements.
    Braille,
    /// Block elements, where the font has no Braille (the Linux console).
    Blocks,
}

/// What the terminal can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ability {
    /// Its colours.
    pub depth: Depth,
    /// Its characters.
    pub glyphs: Glyphs,
}

impl Ability {
    /// What the environment says about the terminal, and which look suits it.
    pub fn from_env(var: impl Fn(&str) -> Option<String>) -> (Self, Look) {
        let value = |name: &str| var(name).unwrap_or_default();
        let (term, colours) = (value("TERM"), value("COLORTERM"));
        let depth = if !value("NO_COLOR").is_empty() || term == "dumb" {
            Depth::None
        } else if colours == "truecolor" || colours == "24bit" || term.ends_with("-direct") {
            Depth::True
        } else if term.contains("256color") || term.contains("kitty") {
            Depth::Indexed
        } else {
            Depth::Named
        };
        let glyphs = if term == "linux" { Glyphs::Blocks } else { Glyphs::Braille };
        // "foreground;background" in the 16 colours, as several terminals tell it
        let ground = value("COLORFGBG").rsplit(';').next().and_then(|ground| ground.parse::<u8>().ok());
        let look = match ground {
            _ if depth == Depth::None => Look::Mono,
            Some(7 | 15) => Look::Light,
            _ => Look::Dark,
        };
        (Self { depth, glyphs }, look)
    }
}

/// One colour a meaning.
#[derive(Debug, Clone, Copy)]
struct Palette {
    ground: Color,
    text: Color,
    quiet: Color,
    faint: Color,
    base: Color,
    base_rag: Color,
    tuned: Color,
    tuned_rag: Color,
    raw: Color,
    valid: Color,
    general: Color,
}

const fn rgb(hex: u32) -> Color {
    Color::Rgb((hex >> 16) as u8, (hex >> 8) as u8, hex as u8)
}

const DARK: Palette = Palette {
    ground: rgb(0x10_12_18),
    text: rgb(0xdc_de_e4),
    quiet: rgb(0x8a_90_9e),
    faint: rgb(0x43_48_55),
    base: rgb(0x5f_a0_ff),
    base_rag: rgb(0x69_c9_74),
    tuned: rgb(0xf0_8c_2e),
    tuned_rag: rgb(0xb4_8c_ff),
    raw: rgb(0x6e_45_20),
    valid: rgb(0xff_cf_8a),
    general: rgb(0xff_64_7f),
};

const LIGHT: Palette = Palette {
    ground: rgb(0xfb_fa_f7),
    text: rgb(0x20_24_2c),
    quiet: rgb(0x6a_70_7c),
    faint: rgb(0xc4_c6_c8),
    base: rgb(0x1d_5f_d0),
    base_rag: rgb(0x17_80_38),
    tuned: rgb(0xd0_68_00),
    tuned_rag: rgb(0x78_3c_d2),
    raw: rgb(0xf2_cf_a6),
    valid: rgb(0x8f_3d_00),
    general: rgb(0xd4_1c_50),
};

const INDEXED_DARK: Palette = Palette {
    ground: Color::Indexed(233),
    text: Color::Indexed(253),
    quiet: Color::Indexed(246),
    faint: Color::Indexed(239),
    base: Color::Indexed(75),
    base_rag: Color::Indexed(77),
    tuned: Color::Indexed(208),
    tuned_rag: Color::Indexed(141),
    raw: Color::Indexed(94),
    valid: Color::Indexed(222),
    general: Color::Indexed(204),
};

const INDEXED_LIGHT: Palette = Palette {
    ground: Color::Indexed(255),
    text: Color::Indexed(234),
    quiet: Color::Indexed(242),
    faint: Color::Indexed(251),
    base: Color::Indexed(26),
    base_rag: Color::Indexed(28),
    tuned: Color::Indexed(166),
    tuned_rag: Color::Indexed(92),
    raw: Color::Indexed(223),
    valid: Color::Indexed(94),
    general: Color::Indexed(161),
};

const NAMED_DARK: Palette = Palette {
    ground: Color::Reset,
    text: Color::Reset,
    quiet: Color::Reset,
    faint: Color::DarkGray,
    base: Color::LightBlue,
    base_rag: Color::Green,
    tuned: Color::Yellow,
    tuned_rag: Color::Magenta,
    raw: Color::DarkGray,
    valid: Color::LightYellow,
    general: Color::LightRed,
};

/// Without yellows, which nobody can read on white.
const NAMED_LIGHT: Palette = Palette {
    ground: Color::Reset,
    text: Color::Reset,
    quiet: Color::Reset,
    faint: Color::DarkGray,
    base: Color::Blue,
    base_rag: Color::Green,
    tuned: Color::LightRed,
    tuned_rag: Color::Magenta,
    raw: Color::DarkGray,
    valid: Color::Red,
    general: Color::LightMagenta,
};

const NONE: Palette = Palette {
    ground: Color::Reset,
    text: Color::Reset,
    quiet: Color::Reset,
    faint: Color::Reset,
    base: Color::Reset,
    base_rag: Color::Reset,
    tuned: Color::Reset,
    tuned_rag: Color::Reset,
    raw: Color::Reset,
    valid: Color::Reset,
    general: Color::Reset,
};

/// The styles of the screen, by meaning.
#[derive(Debug, Clone, Copy)]
pub struct Theme {
    palette: Palette,
    mono: bool,
    /// The characters curves and bars are made of.
    pub glyphs: Glyphs,
}

impl Theme {
    /// The styles for a terminal that can do `ability`, in the look asked for.
    pub fn new(look: Look, ability: Ability) -> Self {
        let palette = match (ability.depth, look) {
            (Depth::None, _) | (_, Look::Mono) => NONE,
            (Depth::True, Look::Dark) => DARK,
            (Depth::True, Look::Light) => LIGHT,
            (Depth::Indexed, Look::Dark) => INDEXED_DARK,
            (Depth::Indexed, Look::Light) => INDEXED_LIGHT,
            (Depth::Named, Look::Dark) => NAMED_DARK,
            (Depth::Named, Look::Light) => NAMED_LIGHT,
        };
        let mono = ability.depth == Depth::None || look == Look::Mono;
        Self { palette, mono, glyphs: ability.glyphs }
    }

    /// The ground everything stands on.
    pub fn ground(&self) -> Style {
        Style::new().fg(self.palette.text).bg(self.palette.ground)
    }

    /// What is to be read.
    pub fn text(&self) -> Style {
        Style::new().fg(self.palette.text)
    }

    /// What is to be read first.
    pub fn strong(&self) -> Style {
        self.text().add_modifier(Modifier::BOLD)
    }

    /// What is there if one looks for it.
    pub fn quiet(&self) -> Style {
        Self::dim_where_mono(self.palette.quiet)
    }

    /// Rules, axes and empty parts of bars.
    pub fn faint(&self) -> Style {
        Self::dim_where_mono(self.palette.faint)
    }

    /// A contender's curve, border, row and cell.
    pub fn contender(&self, contender: Contender) -> Style {
        Style::new().fg(match contender {
            Contender::Base => self.palette.base,
            Contender::BaseRag => self.palette.base_rag,
            Contender::Tuned => self.palette.tuned,
            Contender::TunedRag => self.palette.tuned_rag,
        })
    }

    /// The training loss, smoothed; what is trained.
    pub fn train(&self) -> Style {
        self.contender(Contender::Tuned)
    }

    /// The training loss, step by step.
    pub fn raw(&self) -> Style {
        Self::dim_where_mono(self.palette.raw)
    }

    /// What was held out: validation loss, corpus perplexity, unseen wordings.
    pub fn valid(&self) -> Style {
        Style::new().fg(self.palette.valid)
    }

    /// General text: what may be forgotten.
    pub fn general(&self) -> Style {
        Style::new().fg(self.palette.general)
    }

    /// A key to press.
    pub fn key(&self) -> Style {
        self.strong()
    }

    /// The rule above a pane.
    pub fn rule(&self, focused: bool) -> Style {
        if focused { self.quiet() } else { self.faint() }
    }

    /// Whether meaning has to be carried without colour.
    pub fn is_mono(&self) -> bool {
        self.mono
    }

    fn dim_where_mono(colour: Color) -> Style {
        let style = Style::new().fg(colour);
        if colour == Color::Reset { style.add_modifier(Modifier::DIM) } else { style }
    }
}

/// The marker of a contender, the same wherever it appears.
pub(super) fn marker(contender: Contender) -> &'static str {
    match contender {
        Contender::Base => "○",
        Contender::BaseRag => "●",
        Contender::Tuned => "▲",
        Contender::TunedRag => "◆",
    }
}

/// A contender's name, as a reader says it.
pub(super) fn spoken(contender: Contender) -> &'static str {
    match contender {
        Contender::Base => "base",
        Contender::BaseRag => "base + RAG",
        Contender::Tuned => "fine-tuned",
        Contender::TunedRag => "fine-tuned + RAG",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ability(pairs: &[(&str, &str)]) -> (Ability, Look) {
        let pairs: Vec<_> = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Ability::from_env(|name| pairs.iter().find(|(k, _)| k == name).map(|(_, v)| v.clone()))
    }

    #[test]
    fn the_environment_decides() {
        assert_eq!(ability(&[("TERM", "xterm-256color")]).0.depth, Depth::Indexed);
        assert_eq!(ability(&[("TERM", "xterm"), ("COLORTERM", "truecolor")]).0.depth, Depth::True);
        assert_eq!(
            ability(&[("TERM", "xterm"), ("COLORTERM", "truecolor"), ("NO_COLOR", "1")]).1,
            Look::Mono
        );
        assert_eq!(ability(&[("TERM", "xterm"), ("NO_COLOR", "")]).0.depth, Depth::Named);
        assert_eq!(ability(&[("TERM", "linux")]).0.glyphs, Glyphs::Blocks);
        assert_eq!(ability(&[("TERM", "xterm"), ("COLORFGBG", "0;15")]).1, Look::Light);
    }

    #[test]
    fn meanings_differ_in_every_look_that_has_colours() {
        for depth in [Depth::True, Depth::Indexed, Depth::Named] {
            for look in [Look::Dark, Look::Light] {
                let theme = Theme::new(look, Ability { depth, glyphs: Glyphs::Braille });
                let mut styles: Vec<_> = Contender::ALL.iter().map(|c| theme.contender(*c)).collect();
                styles.extend([theme.valid(), theme.general(), theme.faint()]);
                for (i, one) in styles.iter().enumerate() {
                    assert!(styles[i + 1..].iter().all(|other| other != one), "{depth:?} {look:?} {i}");
                }
            }
        }
    }

    #[test]
    fn no_name_of_a_colour_is_unreadable_on_its_ground() {
        let colours = |look| {
            let theme = Theme::new(look, Ability { depth: Depth::Named, glyphs: Glyphs::Braille });
            let mut styles: Vec<_> = Contender::ALL.iter().map(|c| theme.contender(*c)).collect();
            styles.extend([theme.valid(), theme.general(), theme.text(), theme.quiet(), theme.faint()]);
            styles.into_iter().filter_map(|style| style.fg).collect::<Vec<_>>()
        };
        let on_white = [Color::Yellow, Color::LightYellow, Color::White, Color::Gray, Color::LightCyan];
        assert!(!colours(Look::Light).iter().any(|colour| on_white.contains(colour)));
        let on_black = [Color::Black, Color::Blue];
        assert!(!colours(Look::Dark).iter().any(|colour| on_black.contains(colour)));
    }
}
