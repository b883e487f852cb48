//! Where are embeddings kept?
//!
//! In one file of records of equal length, added to at its end: key, vector, check value. The key
//! is the digest of the text that was embedded, so a text is embedded once, wherever it moves. A
//! record that was cut off or damaged is not there: its text is embedded again.

use std::collections::{HashMap, HashSet};
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::error::{Error, Result};

const MAGIC: &[u8; 8] = b"LSVEC001";
const TAG: usize = 16;
const HEADER: usize = MAGIC.len() + TAG + 4;
/// Records without a use that are kept before the file is written anew.
const SPARE: usize = 64;

/// The first half of the SHA-256 of an embedded text.
pub(super) type Key = [u8; 16];

/// The key of a text.
pub(super) fn key_of(text: &str) -> Key {
    let digest: [u8; 32] = Sha256::digest(text).into();
    let mut key = Key::default();
    key.copy_from_slice(&digest[..16]);
    key
}

/// The key of a part of a text.
pub(super) fn part_key(whole: &Key, part: usize) -> Key {
    let whole = u128::from_be_bytes(*whole);
    key_of(&format!("{whole:032x} part {part}"))
}

/// The vectors of one embedder.
pub(super) struct VectorFile {
    path: PathBuf,
    tag: Key,
    rows: HashMap<Key, Vec<f32>>,
    /// Bytes that hold whole records; 0 when the file must be written from its start.
    n_valid_bytes: u64,
    n_records: usize,
    n_damaged: usize,
}

impl VectorFile {
    /// Reads the file, if there is one, and takes what is whole and of this embedder.
    pub(super) fn open(path: &Path, embedder: &str) -> Result<Self> {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(wrong) if wrong.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(wrong) => return Err(Error::io("read", path)(wrong)),
        };
        let tag = key_of(embedder);
        let mut file = Self {
            path: path.into(),
            tag,
            rows: HashMap::new(),
            n_valid_bytes: 0,
            n_records: 0,
            n_damaged: 0,
        };
        let Some(dim) = dim_of(&bytes, &tag) else {
            file.n_damaged = usize::from(!bytes.is_empty());
            return Ok(file);
        };
        let records = bytes[HEADER..].chunks_exact(record_len(dim));
        file.n_damaged = usize::from(!records.remainder().is_empty());
        for record in records {
            file.n_records += 1;
            match read_record(record) {
                Some((key, vector)) => drop(file.rows.insert(key, vector)),
                None => file.n_damaged += 1,
            }
        }
        file.n_valid_bytes = (HEADER + file.n_records * record_len(dim)) as u64;
        Ok(file)
    }

    /// The vector of a text.
    pub(super) fn get(&self, key: &Key) -> Option<&[f32]> {
        self.rows.get(key).map(Vec::as_slice)
    }

    /// Parts of the file that could not be used.
    pub(super) fn n_damaged(&self) -> usize {
        self.n_damaged
    }

    /// Adds vectors, on the disk before this returns.
    pub(super) fn append(&mut self, added: Vec<(Key, Vec<f32>)>) -> Result<()> {
        let Some(dim) = added.first().map(|(_, vector)| vector.len()) else { return Ok(()) };
        let alike = |vector: &Vec<f32>| vector.len() == dim;
        if dim == 0 || !added.iter().all(|(_, vector)| alike(vector)) {
            return Err(Error::refused(
                "the embedder gave vectors of different lengths",
                "choose another embedder",
            ));
        }
        if !self.rows.values().take(1).all(alike) {
            self.rows.clear();
            self.n_valid_bytes = 0;
        }
        let records: Vec<u8> = added.iter().flat_map(|(key, vector)| record_of(key, vector)).collect();
        self.n_records += added.len();
        self.rows.extend(added);
        if self.n_valid_bytes == 0 {
            return self.rewrite();
        }
        let io = |action| Error::io(action, &self.path);
        let mut file = OpenOptions::new().append(true).open(&self.path).map_err(io("write"))?;
        file.set_len(self.n_valid_bytes).map_err(io("write"))?;
        file.write_all(&records).map_err(io("write"))?;
        file.sync_data().map_err(io("write"))?;
        self.n_valid_bytes += records.len() as u64;
        Ok(())
    }

    /// Writes the file anew without what is no longer used, if that is worth it.
    pub(super) fn tidy(&mut self, used: &HashSet<Key>) -> Result<()> {
        if self.n_damaged == 0 && self.n_records <= used.len() * 2 + SPARE {
            return Ok(());
        }
        self.rows.retain(|key, _| used.contains(key));
        self.rewrite()
    }

    fn rewrite(&mut self) -> Result<()> {
        let dim = self.rows.values().next().map_or(0, Vec::len);
        let mut bytes = Vec::with_capacity(HEADER + self.rows.len() * record_len(dim));
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&self.tag);
        bytes.extend_from_slice(&(dim as u32).to_le_bytes());
        for (key, vector) in &self.rows {
            bytes.extend(record_of(key, vector));
        }
        let part = self.path.with_extension("part");
        let io = |action| Error::io(action, &part);
        let mut file = std::fs::File::create(&part).map_err(io("create"))?;
        file.write_all(&bytes).map_err(io("write"))?;
        file.sync_data().map_err(io("write"))?;
        std::fs::rename(&part, &self.path).map_err(Error::io("write", &self.path))?;
        self.n_records = self.rows.len();
        self.n_valid_bytes = bytes.len() as u64;
        self.n_damaged = 0;
        Ok(())
    }
}

fn dim_of(bytes: &[u8], tag: &Key) -> Option<usize> {
    let header = bytes.get(..HEADER)?;
    let rest = header.strip_prefix(MAGIC)?.strip_prefix(tag)?;
    let dim = u32::from_le_bytes(rest.try_into().ok()?) as usize;
    (1..=1 << 16).contains(&dim).then_some(dim)
}

fn record_len(dim: usize) -> usize {
    size_of::<Key>() + dim * 4 + 8
}

fn record_of(key: &Key, vector: &[f32]) -> Vec<u8> {
    let mut record = Vec::with_capacity(record_len(vector.len()));
    record.extend_from_slice(key);
    record.extend(vector.iter().flat_map(|value| value.to_le_bytes()));
    let check = check_value(&record);
    record.extend_from_slice(&check.to_le_bytes());
    record
}

fn read_record(record: &[u8]) -> Option<(Key, Vec<f32>)> {
    let (body, check) = record.split_last_chunk::<8>()?;
    let (key, values) = body.split_first_chunk::<16>()?;
    let vector = values.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    (check_value(body) == u64::from_le_bytes(*check)).then_some((*key, vector))
}

/// FNV-1a, 64 bits.
fn check_value(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(names: &[&str]) -> Vec<(Key, Vec<f32>)> {
        names.iter().map(|name| (key_of(name), vec![name.len() as f32, -0.5, f32::MIN_POSITIVE])).collect()
    }

    fn saved(names: &[&str]) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("vectors.bin");
        VectorFile::open(&path, "e").unwrap().append(rows(names)).unwrap();
        (dir, path)
    }

    #[test]
    fn what_was_added_comes_back_bit_for_bit() {
        let (_dir, path) = saved(&["a", "bb"]);
        let mut file = VectorFile::open(&path, "e").unwrap();
        file.append(rows(&["ccc"])).unwrap();
        let file = VectorFile::open(&path, "e").unwrap();
        for (key, vector) in rows(&["a", "bb", "ccc"]) {
            assert_eq!(file.get(&key), Some(vector.as_slice()));
        }
        assert_eq!(file.n_damaged(), 0);
    }

    #[test]
    fn a_file_cut_anywhere_keeps_its_whole_records_and_can_be_added_to() {
        let (_dir, path) = saved(&["a", "bb"]);
        let whole = std::fs::read(&path).unwrap();
        for n in 0..whole.len() {
            std::fs::write(&path, &whole[..n]).unwrap();
            let mut file = VectorFile::open(&path, "e").unwrap();
            let n_whole = n.saturating_sub(HEADER) / record_len(3);
            assert_eq!(file.rows.len(), n_whole, "{n} bytes");
            file.append(rows(&["ccc"])).unwrap();
            let file = VectorFile::open(&path, "e").unwrap();
            assert_eq!((file.rows.len(), file.n_damaged()), (n_whole + 1, 0), "{n} bytes");
        }
    }

    #[test]
    fn a_flipped_bit_loses_one_record_only() {
        let (_dir, path) = saved(&["a", "bb", "ccc"]);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[HEADER + record_len(3) + 20] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        let file = VectorFile::open(&path, "e").unwrap();
        assert_eq!((file.rows.len(), file.n_damaged()), (2, 1));
    }

    #[test]
    fn another_embedders_vectors_are_not_taken() {
        let (_dir, path) = saved(&["a"]);
        assert_eq!(VectorFile::open(&path, "other").unwrap().rows.len(), 0);
    }

    #[test]
    fn tidying_keeps_what_is_used() {
        let names: Vec<String> = (0..200).map(|i| format!("{i}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let (_dir, path) = saved(&names);
        let mut file = VectorFile::open(&path, "e").unwrap();
        file.tidy(&HashSet::from([key_of("7")])).unwrap();
        let file = VectorFile::open(&path, "e").unwrap();
        assert_eq!(file.rows.len(), 1);
        assert!(file.get(&key_of("7")).is_some());
    }
}
