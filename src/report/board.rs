//! Which facts are in, at the end of the run?

use std::path::Path;
use std::sync::Arc;

use super::page::{Block, Square};
use super::tables::spoken_wording;
use crate::app::words::thousands;
use crate::app::{Board, Counts, Standing};
use crate::error::Result;
use crate::lab::Contender;
use crate::plot::Ink;
use crate::run;

/// The board as the run left it; `None` where it had none.
///
/// # Errors
/// When it is there and damaged.
pub(super) fn read(run: &Path) -> Result<Option<Board>> {
    let Some((cells, readings)) = run::facts(run)? else { return Ok(None) };
    let mut board = Board::default();
    board.list(Arc::from(cells));
    for (step, cells) in readings {
        board.note(step, &cells);
    }
    Ok((board.len() > 0).then_some(board))
}

/// The board, wording by wording, and how many facts are in.
pub(super) fn section(board: &Board) -> Vec<Block> {
    let told = "One square a fact and wording, by the probability of its whole answer when it was last read: ■ above one \
                half (it is what the model writes), ▒ below, ░ below one in ten, · below one in a hundred, □ lost again, \
                - not read.";
    let mut blocks = vec![Block::Text(told.to_owned())];
    for (wording, cells) in board.parts() {
        let Counts { n, n_in, n_lost, n_unread } = board.counts(cells.clone());
        let never = n - n_in - n_lost - n_unread;
        let count = |n: usize, what: &str| {
            if n > 0 { format!(", {} {what}", thousands(n as u64)) } else { String::new() }
        };
        blocks.push(Block::Text(format!(
            "{}: {} of {} in{}{}{}",
            spoken_wording(wording),
            thousands(n_in as u64),
            thousands(n as u64),
            count(n_lost, "lost again"),
            count(never, "never learnt"),
            count(n_unread, "not read")
        )));
        blocks.push(Block::Board(cells.map(|cell| square(board, cell)).collect()));
    }
    blocks
}

fn square(board: &Board, cell: usize) -> Square {
    let standing = board.standing(cell);
    let ink = match standing {
        Standing::Unread => Ink::Faint,
        Standing::Absent => Ink::Quiet,
        Standing::Faint | Standing::Near | Standing::In => Ink::Contender(Contender::Tuned),
        Standing::Lost => Ink::General,
    };
    let fact = board.cells.as_deref().and_then(|cells| cells.get(cell));
    let asked = fact.map_or(String::new(), |fact| format!("{} {}", fact.question, fact.answer));
    let told = match board.history(cell).last() {
        Some((step, p)) => format!("{asked} ({:.1} % at step {step})", p * 100.0),
        None => asked,
    };
    Square { sign: standing.sign(), ink, told }
}
