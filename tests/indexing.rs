//! Does an index follow its corpus, and does it do no more than it must?
//!
//! With an embedder that needs no model: it hashes words, and counts what it was asked to embed.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use lorascope::cancel::Cancel;
use lorascope::corpus::{Chunking, Corpus};
use lorascope::error::{Error, Result};
use lorascope::rag::{Embed, Index, IndexProgress, Indexing, Parted, Rerank, UpdateSummary};

/// Words hashed into 64 numbers.
#[derive(Default)]
struct HashEmbedder {
    embedded: Mutex<Vec<String>>,
    /// Calls until it gives up; 0 for never.
    fails_at: AtomicUsize,
}

impl Embed for HashEmbedder {
    fn embed(&self, texts: &[&str], cancel: &Cancel) -> Result<Vec<Vec<f32>>> {
        cancel.check()?;
        if self.fails_at.load(Ordering::SeqCst) > 0 && self.fails_at.fetch_sub(1, Ordering::SeqCst) == 1 {
            return Err(Error::refused("the embedder broke", "mend it"));
        }
        self.embedded.lock().unwrap().extend(texts.iter().map(|text| (*text).to_owned()));
        Ok(texts.iter().map(|text| vector(text)).collect())
    }

    fn embed_parts(&self, texts: &[Parted<'_>], cancel: &Cancel) -> Result<Vec<Vec<Vec<f32>>>> {
        let whole: Vec<&str> = texts.iter().map(|(text, _)| *text).collect();
        let part = |text: &str, part: &Range<usize>| vector(&text[part.clone()]);
        let with_parts = |(whole, &(text, parts)): (Vec<f32>, &Parted<'_>)| {
            std::iter::once(whole).chain(parts.iter().map(|range| part(text, range))).collect()
        };
        Ok(self.embed(&whole, cancel)?.into_iter().zip(texts).map(with_parts).collect())
    }

    fn count_tokens(&self, text: &str) -> usize {
        text.split_whitespace().count()
    }

    fn name(&self) -> &'static str {
        "hash"
    }
}

fn vector(text: &str) -> Vec<f32> {
    let mut vector = vec![0.0; 64];
    for word in text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
        let hash =
            word.to_lowercase().bytes().fold(7_usize, |hash, byte| hash.wrapping_mul(31) ^ usize::from(byte));
        vector[hash % 64] += 1.0;
    }
    vector
}

struct Lab {
    dir: tempfile::TempDir,
    embedder: Arc<HashEmbedder>,
}

impl Lab {
    fn new() -> Self {
        let lab = Self { dir: tempfile::tempdir().unwrap(), embedder: Arc::default() };
        lab.put("people/ada-finch.md", ADA);
        lab.put("people/berta-finch.md", &ADA.replace("Ada", "Berta").replace("Cinder Bay", "Salt Rock"));
        lab.put("places/cinder-bay.md", "# Cinder Bay\n\nA harbour with a brass bell and nine jetties.\n");
        lab
    }

    fn put(&self, name: &str, text: &str) {
        let path = self.dir.path().join("corpus").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn index_dir(&self) -> PathBuf {
        self.dir.path().join("index")
    }

    fn corpus(&self) -> Corpus {
        Corpus::open(&self.dir.path().join("corpus")).unwrap()
    }

    fn try_open(&self, dir: &Path, cancel: &Cancel) -> Result<(Index, UpdateSummary)> {
        let indexing =
            Indexing { embedder: self.embedder.clone(), chunking: Chunking { max_tokens: 12 }, cancel };
        Index::open(dir, &self.corpus(), &indexing, &mut |_| {})
    }

    fn open(&self) -> (Index, UpdateSummary) {
        self.try_open(&self.index_dir(), &Cancel::new()).unwrap()
    }

    /// What was embedded since the last look.
    fn embedded(&self) -> Vec<String> {
        std::mem::take(&mut self.embedder.embedded.lock().unwrap())
    }

    /// An index of the same corpus, made from nothing elsewhere.
    fn fresh(&self) -> (tempfile::TempDir, Index) {
        let dir = tempfile::tempdir().unwrap();
        let (index, _) = self.try_open(dir.path(), &Cancel::new()).unwrap();
        self.embedded();
        (dir, index)
    }

    /// The index in the folder must answer just as one made from nothing.
    fn assert_like_fresh(&self, index: &Index) {
        let (_dir, fresh) = self.fresh();
        assert_eq!(index.chunks(), fresh.chunks());
        for question in
            ["Where was Ada Finch born?", "Who owns a sextant?", "bell", "zebra", "finch finch bay"]
        {
            for rerank in Rerank::ALL {
                let found = |index: &Index| index.retrieve(question, 5, rerank).unwrap().passages;
                assert_eq!(found(index), found(&fresh), "{question} {}", rerank.name());
            }
        }
    }
}

const ADA: &str = "# Ada Finch\n\nAda Finch keeps the lighthouse on the cape.\n\n## Early life\n\nShe was born in Cinder \
                   Bay in 1902.\n\n## Work\n\nShe owns a brass sextant and repairs clocks.\n";

fn files(dir: &Path) -> BTreeMap<PathBuf, (SystemTime, Vec<u8>)> {
    let mut found = BTreeMap::new();
    let mut folders = vec![dir.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let modified = fs::metadata(&path).unwrap().modified().unwrap();
                found.insert(path.clone(), (modified, fs::read(&path).unwrap()));
            }
        }
    }
    found
}

#[test]
fn the_right_chunk_is_found_with_its_scores() {
    let lab = Lab::new();
    let (index, summary) = lab.open();
    assert_eq!((summary.n_added, summary.n_chunks, summary.n_embedded), (3, 7, 7));
    let found = index.retrieve("Where was Ada Finch born?", 3, Rerank::Fused).unwrap();
    let best = found.passages.iter().find(|passage| passage.bm25_rank == Some(1)).unwrap();
    assert_eq!(
        (best.document.as_str(), best.heading.as_str()),
        ("people/ada-finch", "Ada Finch > Early life")
    );
    assert_eq!(best.text, "She was born in Cinder Bay in 1902.");
    assert!(best.bm25_score > 0.0 && best.cosine > 0.0 && best.cosine <= 1.0);
    assert_eq!(found.passages.iter().map(|passage| passage.final_rank).collect::<Vec<_>>(), [1, 2, 3]);
    let parts = found.timings.bm25 + found.timings.embed + found.timings.rerank;
    assert!(parts > 0.0 && found.timings.total >= parts);
}

#[test]
fn words_are_stemmed_and_accents_do_not_matter() {
    let lab = Lab::new();
    lab.put("zoe.md", "# Zoë\n\nZoë paints ships.\n");
    let (index, _) = lab.open();
    for question in ["painting", "ZOE", "a ship painted"] {
        assert_eq!(
            index.retrieve(question, 1, Rerank::Off).unwrap().passages[0].document,
            "zoe",
            "{question}"
        );
    }
}

#[test]
fn without_a_known_word_meaning_alone_decides_unless_it_is_off() {
    let (index, _) = Lab::new().open();
    let found = index.retrieve("zebra quagga", 2, Rerank::Fused).unwrap().passages;
    assert_eq!(found.len(), 2);
    assert!(found.iter().all(|passage| passage.bm25_rank.is_none() && passage.bm25_score == 0.0));
    assert!(found[0].cosine >= found[1].cosine);
    assert!(index.retrieve("zebra quagga", 2, Rerank::Off).unwrap().passages.is_empty());
}

#[test]
fn any_text_is_a_question_but_a_blank_one() {
    let (index, _) = Lab::new().open();
    let long = "brass bell \"AND\" (cinder OR ".repeat(500);
    let odd = [
        "\"",
        "AND OR NOT",
        "+bell -bay",
        "body:bell",
        "[a TO z]",
        "bell^9~2*",
        "🦀🦀",
        "the of a",
        "\u{0}\u{202e}",
        "鐘",
        &long,
    ];
    for question in odd {
        for rerank in Rerank::ALL {
            let found = index.retrieve(question, 3, rerank).unwrap();
            assert!(rerank == Rerank::Off || !found.passages.is_empty(), "{question}");
        }
    }
    assert_eq!(index.retrieve(&long, 1, Rerank::Off).unwrap().passages[0].document, "places/cinder-bay");
    for blank in ["", " \n\t "] {
        assert!(matches!(index.retrieve(blank, 3, Rerank::Fused), Err(Error::Refused { .. })));
    }
}

#[test]
fn an_unchanged_index_is_opened_without_writing_or_embedding() {
    let lab = Lab::new();
    lab.open();
    lab.embedded();
    let before = files(&lab.index_dir());
    let (index, summary) = lab.open();
    assert!(summary.is_unchanged() && summary.remarks.is_empty(), "{summary:?}");
    assert_eq!(summary.n_chunks, index.n_chunks());
    assert!(lab.embedded().is_empty());
    assert!(before == files(&lab.index_dir()), "a file was written");
}

#[test]
fn only_what_was_added_is_embedded() {
    let lab = Lab::new();
    lab.open();
    lab.embedded();
    lab.put("notes.txt", "The ferry leaves at dawn.");
    let (index, summary) = lab.open();
    assert_eq!((summary.n_added, summary.n_changed, summary.n_removed), (1, 0, 0));
    assert_eq!(lab.embedded(), ["notes\nThe ferry leaves at dawn."]);
    assert_eq!(index.retrieve("ferry", 1, Rerank::Fused).unwrap().passages[0].document, "notes");
    lab.assert_like_fresh(&index);
}

#[test]
fn only_the_changed_chunk_of_a_changed_document_is_embedded() {
    let lab = Lab::new();
    lab.open();
    lab.embedded();
    lab.put("people/ada-finch.md", &ADA.replace("Cinder Bay", "Tern Sound"));
    let (index, summary) = lab.open();
    assert_eq!((summary.n_added, summary.n_changed, summary.n_removed), (0, 1, 0));
    assert_eq!(lab.embedded(), ["Ada Finch > Early life\nShe was born in Tern Sound in 1902."]);
    lab.assert_like_fresh(&index);
}

#[test]
fn what_was_removed_is_no_longer_found_and_nothing_is_embedded() {
    let lab = Lab::new();
    lab.open();
    lab.embedded();
    fs::remove_file(lab.dir.path().join("corpus/people/ada-finch.md")).unwrap();
    let (index, summary) = lab.open();
    assert_eq!((summary.n_added, summary.n_changed, summary.n_removed), (0, 0, 1));
    assert!(lab.embedded().is_empty());
    let found = index.retrieve("Ada Finch", 9, Rerank::Fused).unwrap().passages;
    assert!(found.iter().all(|passage| passage.document != "people/ada-finch"));
    lab.assert_like_fresh(&index);
}

#[test]
fn a_renamed_document_is_not_embedded_again() {
    let lab = Lab::new();
    lab.open();
    lab.embedded();
    let corpus = lab.dir.path().join("corpus");
    fs::rename(corpus.join("people/ada-finch.md"), corpus.join("keeper.md")).unwrap();
    let (index, summary) = lab.open();
    assert_eq!((summary.n_added, summary.n_removed, summary.n_embedded), (1, 1, 0));
    lab.assert_like_fresh(&index);
}

#[test]
fn each_file_may_be_damaged_or_gone_and_the_index_recovers() {
    let lab = Lab::new();
    lab.open();
    let sound = files(&lab.index_dir());
    for (path, (_, bytes)) in &sound {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if bytes.is_empty() {
            continue;
        }
        let mut flipped = bytes.clone();
        flipped[bytes.len() / 2] ^= 0x55;
        let cut = |n: usize| Some(bytes[..n.min(bytes.len())].to_vec());
        let damages = [Some(flipped), cut(bytes.len() / 2), cut(6), cut(5), cut(0), None];
        for (kind, damage) in damages.into_iter().enumerate() {
            for (path, (_, bytes)) in &sound {
                fs::write(path, bytes).unwrap();
            }
            match damage {
                Some(bytes) => fs::write(path, bytes).unwrap(),
                None => fs::remove_file(path).unwrap(),
            }
            let (index, _) = lab.open();
            lab.assert_like_fresh(&index);
            let (_, summary) = lab.open();
            assert!(summary.is_unchanged(), "{name}, damage {kind}: {summary:?}");
            fs::remove_dir_all(lab.index_dir()).unwrap();
            fs::create_dir_all(lab.index_dir().join("bm25")).unwrap();
        }
    }
}

#[test]
fn an_index_with_other_settings_is_made_anew_with_a_remark() {
    let lab = Lab::new();
    lab.open();
    let cancel = Cancel::new();
    let indexing =
        Indexing { embedder: lab.embedder.clone(), chunking: Chunking { max_tokens: 100 }, cancel: &cancel };
    let (index, summary) = Index::open(&lab.index_dir(), &lab.corpus(), &indexing, &mut |_| {}).unwrap();
    assert_eq!(index.n_chunks(), 3);
    assert!(summary.remarks[0].contains("other settings; it was made anew"), "{summary:?}");
    let other = Index::folder(lab.dir.path(), &lab.corpus(), &indexing);
    let indexing = Indexing { chunking: Chunking { max_tokens: 12 }, ..indexing };
    assert_ne!(other, Index::folder(lab.dir.path(), &lab.corpus(), &indexing));
}

/// Twenty more documents: several batches of chunks.
fn many(lab: &Lab) {
    for i in 0..20 {
        lab.put(&format!("more/d{i}.md"), &format!("# Buoy {i}\n\nBuoy number {i} is painted red.\n"));
    }
}

#[test]
fn after_a_failure_the_old_index_stands_and_what_was_embedded_is_kept() {
    let lab = Lab::new();
    lab.open();
    let before = lab.open().0;
    many(&lab);
    lab.embedder.fails_at.store(2, Ordering::SeqCst);
    assert!(lab.try_open(&lab.index_dir(), &Cancel::new()).is_err());
    assert_eq!(
        before.retrieve("brass bell", 1, Rerank::Off).unwrap().passages[0].document,
        "places/cinder-bay"
    );
    lab.embedded();
    let (index, summary) = lab.open();
    assert_eq!(summary.n_added, 20);
    assert_eq!(lab.embedded().len(), 4, "sixteen of twenty were embedded before");
    lab.assert_like_fresh(&index);
}

#[test]
fn a_cancelled_update_says_so_and_the_next_one_completes_it() {
    let lab = Lab::new();
    many(&lab);
    let cancel = Cancel::new();
    let indexing =
        Indexing { embedder: lab.embedder.clone(), chunking: Chunking { max_tokens: 12 }, cancel: &cancel };
    let mut seen = Vec::new();
    let opened = Index::open(&lab.index_dir(), &lab.corpus(), &indexing, &mut |progress| {
        seen.push(progress);
        if matches!(progress, IndexProgress::Embedding { done, .. } if done > 0) {
            cancel.cancel();
        }
    });
    assert!(matches!(opened, Err(Error::Cancelled)));
    assert!(seen.contains(&IndexProgress::Chunking { done: 0, total: 23 }));
    assert!(seen.contains(&IndexProgress::Embedding { done: 0, total: 27 }));
    let (index, summary) = lab.open();
    assert!(summary.n_embedded < 27);
    lab.assert_like_fresh(&index);
}

#[test]
fn many_at_once_agree_and_embed_each_chunk_once() {
    let lab = Lab::new();
    many(&lab);
    let counts: Vec<usize> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..6).map(|_| scope.spawn(|| lab.open().0.n_chunks())).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(counts, [27; 6]);
    assert_eq!(lab.embedded().len(), 27);
    let (index, summary) = lab.open();
    assert!(summary.is_unchanged());
    lab.assert_like_fresh(&index);
}

#[test]
fn an_open_index_is_a_snapshot() {
    let lab = Lab::new();
    let (old, _) = lab.open();
    fs::remove_file(lab.dir.path().join("corpus/places/cinder-bay.md")).unwrap();
    let (new, _) = lab.open();
    let documents = |index: &Index| index.retrieve("jetties", 1, Rerank::Off).unwrap().passages.len();
    assert_eq!((documents(&old), documents(&new)), (1, 0));
}
