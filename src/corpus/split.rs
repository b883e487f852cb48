//! Which documents are held out of training?

use std::collections::BTreeSet;

use sha2::{Digest, Sha256};

use super::Document;

/// One document in this many is held out.
const ONE_IN: f64 = 12.5;
/// With this many documents or fewer, all are trained on.
const TOO_FEW: usize = 3;

/// The ids of the documents held out with this seed: 8 %, at least one when there are more than
/// three. Each document is drawn by its own id, so a document that is added or removed hardly
/// changes the rest of the split.
pub fn held_out_documents(documents: &[Document], seed: u64) -> BTreeSet<String> {
    if documents.len() <= TOO_FEW {
        return BTreeSet::new();
    }
    let n = ((documents.len() as f64 / ONE_IN).round() as usize).max(1);
    let mut drawn: Vec<_> =
        documents.iter().map(|document| (draw(&document.id, seed), &document.id)).collect();
    drawn.sort_unstable();
    drawn.into_iter().take(n).map(|(_, id)| id.clone()).collect()
}

fn draw(id: &str, seed: u64) -> [u8; 32] {
    Sha256::new().chain_update(seed.to_le_bytes()).chain_update(id).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::Format;

    fn documents(n: usize) -> Vec<Document> {
        (0..n).map(|i| Document::new(format!("d{i:03}"), "", Format::Text, "text")).collect()
    }

    #[test]
    fn three_documents_are_all_trained_on_and_four_hold_one_out() {
        assert!(held_out_documents(&documents(3), 7).is_empty());
        assert_eq!(held_out_documents(&documents(4), 7).len(), 1);
    }

    #[test]
    fn eight_percent_are_held_out_the_same_ones_each_time() {
        let held_out = held_out_documents(&documents(100), 7);
        assert_eq!(held_out.len(), 8);
        assert_eq!(held_out, held_out_documents(&documents(100), 7));
        assert_ne!(held_out, held_out_documents(&documents(100), 8));
    }

    #[test]
    fn a_document_more_leaves_the_others_where_they_were() {
        let before = held_out_documents(&documents(100), 7);
        let after = held_out_documents(&documents(101), 7);
        assert!(before.intersection(&after).count() >= 7);
    }
}
