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
/// at a paraphrase of itself. A start that all have in common (a system turn) is there once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// The common start, then all other tokens, sequence after sequence.
    pub tokens: Vec<u32>,
    /// Tokens of the common start.
    pub n_shared: usize,
    /// Tokens of each sequence after the common start.
    pub lengths: Vec<usize>,
    /// Rows whose next token is supervised.
    pub rows: Vec<u32>,
    /// Those next tokens.
    pub targets: Vec<u32>,
}

impl Batch {
    /// Packs examples.
    pub fn pack<'a>(examples: impl IntoIterator<Item = &'a Encoded, IntoIter: Clone>) -> Self {
        let examples = examples.into_iter();
        let n_shared = n_shared(examples.clone());
        let mut batch = Self { n_shared, ..Self::default() };
        for example in examples {
            if batch.tokens.is_empty() {
                batch.tokens.extend_from_slice(&example.tokens[..n_shared]);
            }
            let start = batch.tokens.len();
            for at in example.first_supervised..example.tokens.len() {
                batch.rows.push((start + at - n_shared - 1) as u32);
                batch.targets.push(example.tokens[at]);
            }
            batch.tokens.extend_from_slice(&example.tokens[n_shared..]);
            batch.lengths.push(example.tokens.len() - n_shared);
        }
        batch
    }

    /// Tokens of the examples; the common start counts for each.
    pub fn n_tokens(&self) -> usize {
        self.n_shared * self.lengths.len() + self.lengths.iter().sum::<usize>()
    }
}

/// How many tokens at the start are the same in all examples, and predict nothing that is supervised.
/// 0 where sharing them would save next to nothing.
fn n_shared<'a>(mut examples: impl Iterator<Item = &'a Encoded>) -> usize {
    const WORTH_IT: usize = 8;
    let Some(first) = examples.next() else { return 0 };
    let (mut n, mut n_examples) = (first.first_supervised - 1, 1);
    for example in examples {
        let same = example.tokens.iter().zip(&first.tokens).take_while(|(a, b)| a == b).count();
        n = n.min(same).min(example.first_supervised - 1);
        n_examples += 1;
    }
    if n_examples == 1 || n < WORTH_IT { 0 } else { n }
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
    fn a_common_start_is_packed_once() {
        let start: Vec<u32> = (10..20).collect();
        let example = |rest: &[u32]| Encoded { tokens: [&start[..], rest].concat(), first_supervised: 12 };
        let batch = Batch::pack(&[example(&[1, 2, 3]), example(&[1, 4, 5, 6])]);
        // The token before the first supervised one is each sequence's own, though it is the same.
        assert_eq!((batch.n_shared, &batch.lengths[..]), (11, &[2, 3][..]));
        assert_eq!(batch.tokens, [&start[..], &[1, 2, 3, 4, 5, 6]].concat());
        assert_eq!((&batch.rows[..], &batch.targets[..]), (&[11, 13, 14][..], &[3, 5, 6][..]));
        assert_eq!(batch.n_tokens(), 13 + 14);
        let alone = Batch::pack(&[example(&[1, 2, 3])]);
        assert_eq!((alone.n_shared, alone.n_tokens()), (0, 13));
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
