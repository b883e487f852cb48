//! What does the lab know about the facts of the corpus?

use std::sync::Arc;

use crate::train::facts::{CellReading, FactCell};

/// Cells in a row of the board, whatever the size of the screen, so that ↑ and ↓ mean the same everywhere.
pub(crate) const COLUMNS: usize = 38;
/// Above this probability of its whole answer a fact is in: it is what the model writes.
const IN: f32 = 0.5;
/// Readings of a cell that are kept.
const REMEMBERED: usize = 64;

/// How a cell stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Not read yet.
    Unread,
    /// Hardly possible: below one in a hundred.
    Absent,
    /// Below one in ten.
    Faint,
    /// Below one half.
    Near,
    /// What the model writes.
    In,
    /// Was in, and is not any more.
    Lost,
}

impl Standing {
    /// What stands for it, on the screen and on paper; the sign says it without its colour too.
    pub(crate) fn sign(self) -> &'static str {
        match self {
            Self::Unread => "-",
            Self::Absent => "·",
            Self::Faint => "░",
            Self::Near => "▒",
            Self::In => "■",
            Self::Lost => "□",
        }
    }
}

/// The facts on the screen.
#[derive(Debug, Clone, Default)]
pub(crate) struct Board {
    /// The cells, by wording.
    pub(crate) cells: Option<Arc<[FactCell]>>,
    /// What was read of each, oldest first: step and probability.
    readings: Vec<Vec<(usize, f32)>>,
    was_in: Vec<bool>,
    /// The cell that is looked at.
    pub(crate) selected: usize,
}

/// How many facts stand how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) n: usize,
    pub(crate) n_in: usize,
    pub(crate) n_lost: usize,
    pub(crate) n_unread: usize,
}

impl Board {
    pub(crate) fn list(&mut self, cells: Arc<[FactCell]>) {
        let n = cells.len();
        *self =
            Self { cells: Some(cells), readings: vec![Vec::new(); n], was_in: vec![false; n], selected: 0 };
    }

    pub(crate) fn note(&mut self, step: usize, cells: &[CellReading]) {
        for reading in cells {
            let Some(known) = self.readings.get_mut(reading.cell) else { continue };
            if known.last().is_some_and(|(at, _)| *at == step) {
                known.pop();
            } else if known.len() == REMEMBERED {
                // The beginning and the end say most.
                known.remove(REMEMBERED / 2);
            }
            known.push((step, reading.probability));
            self.was_in[reading.cell] |= reading.probability > IN;
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.readings.len()
    }

    /// What was read of a cell, oldest first.
    pub(crate) fn history(&self, cell: usize) -> &[(usize, f32)] {
        self.readings.get(cell).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn standing(&self, cell: usize) -> Standing {
        match self.history(cell).last() {
            None => Standing::Unread,
            Some((_, p)) if *p > IN => Standing::In,
            Some(_) if self.was_in[cell] => Standing::Lost,
            Some((_, p)) if *p >= 0.1 => Standing::Near,
            Some((_, p)) if *p >= 0.01 => Standing::Faint,
            Some(_) => Standing::Absent,
        }
    }

    /// Counts the cells of a range.
    pub(crate) fn counts(&self, cells: std::ops::Range<usize>) -> Counts {
        let mut counts = Counts::default();
        for standing in cells.map(|cell| self.standing(cell)) {
            counts.n += 1;
            counts.n_in += usize::from(standing == Standing::In);
            counts.n_lost += usize::from(standing == Standing::Lost);
            counts.n_unread += usize::from(standing == Standing::Unread);
        }
        counts
    }

    /// The wordings on the board, with their cells.
    pub(crate) fn parts(&self) -> Vec<(crate::corpus::Wording, std::ops::Range<usize>)> {
        let cells = self.cells.as_deref().unwrap_or_default();
        let mut parts: Vec<(crate::corpus::Wording, std::ops::Range<usize>)> = Vec::new();
        for (i, cell) in cells.iter().enumerate() {
            match parts.last_mut() {
                Some((wording, range)) if *wording == cell.wording => range.end = i + 1,
                _ => parts.push((cell.wording, i..i + 1)),
            }
        }
        parts
    }

    /// Moves to another cell: by cells to the side, or by rows.
    pub(crate) fn go(&mut self, by: isize) {
        let last = self.len().saturating_sub(1);
        self.selected = self.selected.saturating_add_signed(by).min(last);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::Wording;

    fn board() -> Board {
        let cell = |wording| FactCell {
            fact: "f".to_owned(),
            documents: vec!["d".to_owned()],
            statement: String::new(),
            wording,
            question: "Who?".to_owned(),
            answer: "Ada".to_owned(),
        };
        let mut board = Board::default();
        let cells = [Wording::Trained, Wording::Trained, Wording::Unseen].map(cell);
        board.list(Arc::new(cells));
        board
    }

    #[test]
    fn a_fact_goes_in_and_may_be_lost_again() {
        let mut board = board();
        assert_eq!(board.standing(0), Standing::Unread);
        let mut read = |step, probability| {
            board.note(step, &[CellReading { cell: 0, probability }]);
            board.standing(0)
        };
        assert_eq!(read(0, 0.001), Standing::Absent);
        assert_eq!(read(4, 0.05), Standing::Faint);
        assert_eq!(read(8, 0.3), Standing::Near);
        assert_eq!(read(12, 0.9), Standing::In);
        assert_eq!(read(16, 0.4), Standing::Lost);
        assert_eq!(read(20, 0.8), Standing::In);
        assert_eq!(board.counts(0..3), Counts { n: 3, n_in: 1, n_lost: 0, n_unread: 2 });
        board.note(24, &[CellReading { cell: 99, probability: 1.0 }]);
    }

    #[test]
    fn parts_follow_the_wordings_and_the_selection_stays_inside() {
        let mut board = board();
        assert_eq!(board.parts(), [(Wording::Trained, 0..2), (Wording::Unseen, 2..3)]);
        board.go(-1);
        assert_eq!(board.selected, 0);
        board.go(COLUMNS as isize);
        assert_eq!(board.selected, 2);
        Board::default().go(1);
    }

    #[test]
    fn the_beginning_and_the_end_of_a_history_are_kept() {
        let mut board = board();
        for step in 0..500 {
            board.note(step, &[CellReading { cell: 1, probability: 0.2 }]);
        }
        let history = board.history(1);
        assert_eq!((history.len(), history[0].0, history[REMEMBERED - 1].0), (REMEMBERED, 0, 499));
    }
}
