//! What does one step read, and in which order do examples come?

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

/// An example as tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// What the model reads and predicts.
    pub tokens: Vec<u32>,
    /// The first token it must answer for; at least 1, since nothing predicts token 0.
    pub first_supervised: usize,
}

impl Encoded {
    /// Tokens it must answer for.
    pub fn n_supervised(&self) -> usize {
        self.tokens.len() - self.first_supervised
    }
}

/// Sequences packed one after another without padding; each sees only itself, so no example can peek
/// at a paraphrase of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// All tokens, sequence after sequence.
    pub tokens: Vec<u32>,
    /// Tokens of each sequence.
    pub lengths: Vec<usize>,
    /// Rows whose next token is supervised.
    pub rows: Vec<u32>,
    /// Those next tokens.
    pub targets: Vec<u32>,
}

impl Batch {
    /// Packs examples.
    pub fn pack<'a>(examples: impl IntoIterator<Item = &'a Encoded>) -> Self {
        let mut batch = Self::default();
        for example in examples {
            let start = batch.tokens.len();
            for at in example.first_supervised..example.tokens.len() {
                batch.rows.push((start + at - 1) as u32);
                batch.targets.push(example.tokens[at]);
            }
            batch.tokens.extend_from_slice(&example.tokens);
            batch.lengths.push(example.tokens.len());
        }
        batch
    }
}

/// The order of the examples in one epoch: all of them, shuffled. A pure function of its arguments, so
/// that a resumed run needs nothing but the step it stands at.
pub fn epoch_order(n_examples: usize, seed: u64, epoch: usize) -> Vec<usize> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(epoch as u64 + 1);
    let mut order: Vec<usize> = (0..n_examples).collect();
    order.shuffle(&mut rng);
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packing_supervises_what_follows_the_prompt() {
        let examples = [
            Encoded { tokens: vec![1, 2, 3, 4], first_supervised: 2 },
            Encoded { tokens: vec![5, 6], first_supervised: 1 },
        ];
        let batch = Batch::pack(&examples);
        assert_eq!(batch.tokens, [1, 2, 3, 4, 5, 6]);
        assert_eq!((batch.rows, batch.targets), (vec![1, 2, 4], vec![3, 4, 6]));
    }

    #[test]
    fn an_epoch_takes_each_example_once_in_a_new_order() {
        let (first, second) = (epoch_order(100, 1, 0), epoch_order(100, 1, 1));
        assert_ne!(first, second);
        assert_eq!(first, epoch_order(100, 1, 0));
        for mut order in [first, second] {
            order.sort_unstable();
            assert_eq!(order, (0..100).collect::<Vec<_>>());
        }
    }
}
