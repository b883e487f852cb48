//! In which order do candidates reach the reader?

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// How BM25's candidates are put in order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rerank {
    /// Reciprocal rank fusion of BM25's order, the embeddings' and that of the nearest sentences.
    #[default]
    Fused,
    /// By the mean of both cosines alone.
    Cosine,
    /// BM25's own order.
    Off,
}

impl Rerank {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Fused, Self::Cosine, Self::Off];

    /// The name used on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fused => "fused",
            Self::Cosine => "cosine",
            Self::Off => "off",
        }
    }
}

impl FromStr for Rerank {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|rerank| rerank.name() == name)
            .ok_or_else(|| Error::refused(format!("`{name}` is no order"), "choose fused, cosine or off"))
    }
}

/// The constant of reciprocal rank fusion (Cormack, Clarke and Büttcher 2009).
const K: f32 = 60.0;

/// How near in meaning a chunk is to a question.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Nearness {
    /// Cosine of the whole chunk.
    pub(super) chunk: f32,
    /// Cosine of its nearest sentence.
    pub(super) sentence: f32,
}

impl Nearness {
    /// Of both cosines.
    fn mean(self) -> f32 {
        f32::midpoint(self.chunk, self.sentence)
    }
}

/// The order of the candidates, best first, as positions in BM25's order. `near` stands in BM25's order too.
/// Fused are BM25's ranks, the chunks' and those of their nearest sentences: passages of one document share
/// most of their words and their subject, and the sentence tells which of them says it. Of two that are equal
/// there, the nearer comes first.
pub(super) fn order(rerank: Rerank, near: &[Nearness]) -> Vec<usize> {
    let by_bm25: Vec<usize> = (0..near.len()).collect();
    if rerank == Rerank::Off {
        return by_bm25;
    }
    let by = |of: fn(Nearness) -> f32| {
        let mut ranking = by_bm25.clone();
        ranking.sort_by(|&a, &b| of(near[b]).total_cmp(&of(near[a])));
        ranking
    };
    let mut by_both = by(Nearness::mean);
    if rerank == Rerank::Cosine {
        return by_both;
    }
    let mut fused = vec![0.0; near.len()];
    for ranking in [by_bm25.clone(), by(|near| near.chunk), by(|near| near.sentence)] {
        for (rank, candidate) in (1_u16..).zip(ranking) {
            fused[candidate] += 1.0 / (K + f32::from(rank));
        }
    }
    by_both.sort_by(|&a, &b| fused[b].total_cmp(&fused[a]));
    by_both
}

/// Cosine of two vectors; 0 where one of them is null.
pub fn cosine(a: &[f32], b: &[f32]) -> f32 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    let norms = (dot(a, a) * dot(b, b)).sqrt();
    if norms > 0.0 { dot(a, b) / norms } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(cosines: &[(f32, f32)]) -> Vec<Nearness> {
        cosines.iter().map(|&(chunk, sentence)| Nearness { chunk, sentence }).collect()
    }

    #[test]
    fn each_order_is_its_own() {
        let near = near(&[(0.1, 0.9), (0.2, 0.2), (0.9, 0.3), (0.3, 0.1)]);
        assert_eq!(order(Rerank::Off, &near), [0, 1, 2, 3]);
        assert_eq!(order(Rerank::Cosine, &near), [2, 0, 1, 3]);
        // Ranks by BM25 1 2 3 4, by chunk 4 3 1 2, by sentence 1 3 2 4.
        assert_eq!(order(Rerank::Fused, &near), [0, 2, 1, 3]);
    }

    #[test]
    fn the_sentence_decides_between_passages_of_one_document() {
        assert_eq!(order(Rerank::Fused, &near(&[(0.5, 0.2), (0.6, 0.8)])), [1, 0]);
        assert_eq!(order(Rerank::Fused, &near(&[(0.5, 0.8), (0.6, 0.2)])), [0, 1]);
    }

    #[test]
    fn cosines_are_those_of_the_angle() {
        assert!((cosine(&[3.0, 0.0], &[2.0, 2.0]) - 0.5_f32.sqrt()).abs() < 1e-6);
        assert!(cosine(&[0.0], &[1.0]).abs() < f32::EPSILON);
        assert_eq!(order(Rerank::Cosine, &[]), [0_usize; 0]);
    }
}
