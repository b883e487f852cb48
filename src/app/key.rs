//! Which key was pressed, in the app's own words?

/// A key press. The terminal's own type stays in `tui`, so that scripts can press keys too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// A character, shift applied.
    Char(char),
    /// Control and a character, in lower case.
    Ctrl(char),
    /// Alt and a character, in lower case.
    Alt(char),
    /// Enter.
    Enter,
    /// Escape.
    Esc,
    /// Tab.
    Tab,
    /// Shift and Tab.
    BackTab,
    /// Backspace.
    Backspace,
    /// Delete.
    Delete,
    /// The arrow to the left.
    Left,
    /// The arrow to the right.
    Right,
    /// Control (or Alt) and the arrow to the left.
    WordLeft,
    /// Control (or Alt) and the arrow to the right.
    WordRight,
    /// The arrow up.
    Up,
    /// The arrow down.
    Down,
    /// Home.
    Home,
    /// End.
    End,
    /// Page up.
    PageUp,
    /// Page down.
    PageDown,
}
