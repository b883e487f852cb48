//! In which order do candidates reach the reader?

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// How BM25's candidates are put in order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rerank {
    /// Reciprocal rank fusion of BM25's order and the embeddings'.
    #[default]
    Fused,
    /// By cosine alone.
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

/// The order of the candidates, best first, as positions in BM25's order. `cosines` stand in BM25's
/// order too. Two candidates that change places are equal in the fused order: there the cosine decides,
/// since passages of one document share most of their words.
pub(super) fn order(rerank: Rerank, cosines: &[f32]) -> Vec<usize> {
    let by_bm25: Vec<usize> = (0..cosines.len()).collect();
    if rerank == Rerank::Off {
        return by_bm25;
    }
    let mut by_cosine = by_bm25.clone();
    by_cosine.sort_by(|&a, &b| cosines[b].total_cmp(&cosines[a]));
    if rerank == Rerank::Cosine {
        return by_cosine;
    }
    let mut fused = vec![0.0; cosines.len()];
    for ranking in [&by_bm25, &by_cosine] {
        for (rank, &candidate) in (1_u16..).zip(ranking) {
            fused[candidate] += 1.0 / (K + f32::from(rank));
        }
    }
    by_cosine.sort_by(|&a, &b| fused[b].total_cmp(&fused[a]));
    by_cosine
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

    #[test]
    fn each_order_is_its_own() {
        let cosines = [0.1, 0.2, 0.9, 0.3];
        assert_eq!(order(Rerank::Off, &cosines), [0, 1, 2, 3]);
        assert_eq!(order(Rerank::Cosine, &cosines), [2, 3, 1, 0]);
        // BM25 ranks 1 2 3 4, cosine ranks 4 3 1 2: reciprocal sums favour the third, then the first.
        assert_eq!(order(Rerank::Fused, &cosines), [2, 0, 1, 3]);
    }

    #[test]
    fn of_two_that_change_places_the_nearer_in_meaning_comes_first() {
        assert_eq!(order(Rerank::Fused, &[0.1, 0.2]), [1, 0]);
    }

    #[test]
    fn cosines_are_those_of_the_angle() {
        assert!((cosine(&[3.0, 0.0], &[2.0, 2.0]) - 0.5_f32.sqrt()).abs() < 1e-6);
        assert!(cosine(&[0.0], &[1.0]).abs() < f32::EPSILON);
        assert_eq!(order(Rerank::Cosine, &[]), [0_usize; 0]);
    }
}
