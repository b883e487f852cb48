//! What does a GGUF file say about itself?
//!
//! Reads the header alone: metadata and where each tensor lies. Every length is checked against what
//! is left of the file before anything is allocated, so a broken or lying header costs an error, not
//! memory. Format: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>, versions 1 to 3,
//! little-endian.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::model::stored::{Encoding, Stored};

/// The longest string taken for real: a chat template is thousands of bytes, never millions.
const MAX_STRING: u64 = 1 << 24;
/// The longest array taken for real: the largest vocabularies and merge lists are under a million.
const MAX_ARRAY: u64 = 1 << 23;
const MAX_DIMS: u32 = 4;
const REMEDY: &str = "the file is damaged or is no GGUF model: download it again";

/// One metadata value, widened to the few kinds that matter.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Any integer type.
    Int(i64),
    /// Either float type.
    Float(f64),
    /// A truth value.
    Bool(bool),
    /// A text; bytes that are not UTF-8 became U+FFFD.
    Text(String),
    /// An array of integers or truth values.
    Ints(Vec<i64>),
    /// An array of floats.
    Floats(Vec<f32>),
    /// An array of texts.
    Texts(Vec<String>),
}

/// The header of a GGUF file.
#[derive(Debug)]
pub struct Gguf {
    /// The file that was read.
    pub path: PathBuf,
    /// Metadata by key.
    pub metadata: BTreeMap<String, Value>,
    /// Where each tensor lies and how it is encoded, by name; shapes in row-major order (out, in).
    pub tensors: BTreeMap<String, Stored>,
}

impl Gguf {
    /// Reads the header of the file at `path`.
    ///
    /// # Errors
    /// When the file cannot be read, is no GGUF, is cut off, or holds a tensor type that is not supported.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(Error::io("open", path))?;
        let n_bytes = file.metadata().map_err(Error::io("read", path))?.len();
        let mut header =
            Header { input: BufReader::with_capacity(1 << 18, file), path, n_bytes, read: 0, version: 3 };
        if header.bytes(4).is_ok_and(|magic| magic != b"GGUF") || n_bytes < 24 {
            return Err(header.wrong("not a GGUF file"));
        }
        header.version = header.u32()?;
        if !(1..=3).contains(&header.version) {
            return Err(header.wrong(&format!("GGUF version {} is not known (1 to 3 are)", header.version)));
        }
        let (n_tensors, n_metadata) = (header.length()?, header.length()?);
        let mut metadata = BTreeMap::new();
        for _ in 0..header.plausible(n_metadata, 5, "metadata entries")? {
            let (key, kind) = (header.string()?, header.u32()?);
            metadata.insert(key, header.value(kind)?);
        }
        let mut tensors = BTreeMap::new();
        for _ in 0..header.plausible(n_tensors, 16, "tensors")? {
            let (name, stored) = header.tensor()?;
            tensors.insert(name, stored);
        }
        let alignment = match metadata.get("general.alignment") {
            Some(Value::Int(n)) if *n > 0 && *n < 1 << 20 => *n as u64,
            Some(_) => return Err(header.wrong("general.alignment is not a small positive number")),
            None => 32,
        };
        let data_start = header.read.next_multiple_of(alignment);
        for stored in tensors.values_mut() {
            stored.offset = stored.offset.saturating_add(data_start);
        }
        Ok(Self { path: path.to_path_buf(), metadata, tensors })
    }

    /// The text under `key`.
    pub fn text(&self, key: &str) -> Option<&str> {
        if let Some(Value::Text(text)) = self.metadata.get(key) { Some(text) } else { None }
    }

    /// The non-negative integer under `key`.
    pub fn int(&self, key: &str) -> Option<usize> {
        if let Some(Value::Int(n)) = self.metadata.get(key) { usize::try_from(*n).ok() } else { None }
    }

    /// The number under `key`, integer or float.
    pub fn float(&self, key: &str) -> Option<f64> {
        match self.metadata.get(key) {
            Some(Value::Float(x)) => Some(*x),
            Some(Value::Int(n)) => Some(*n as f64),
            _ => None,
        }
    }

    /// The truth value under `key`.
    pub fn flag(&self, key: &str) -> Option<bool> {
        if let Some(Value::Bool(flag)) = self.metadata.get(key) { Some(*flag) } else { None }
    }

    /// The texts under `key`.
    pub fn texts(&self, key: &str) -> Option<&[String]> {
        if let Some(Value::Texts(texts)) = self.metadata.get(key) { Some(texts) } else { None }
    }

    /// The integers under `key`.
    pub fn ints(&self, key: &str) -> Option<&[i64]> {
        if let Some(Value::Ints(ints)) = self.metadata.get(key) { Some(ints) } else { None }
    }
}

/// A reader that knows how much of the file is left.
struct Header<'a> {
    input: BufReader<File>,
    path: &'a Path,
    n_bytes: u64,
    read: u64,
    version: u32,
}

impl Header<'_> {
    fn wrong(&self, what: &str) -> Error {
        Error::file(self.path, format!("{what} (header, byte {} of {})", self.read, self.n_bytes), REMEDY)
    }

    /// `n` after checking that so many items of at least `min_size` bytes fit in what is left.
    fn plausible(&self, n: u64, min_size: u64, what: &str) -> Result<u64> {
        let left = self.n_bytes.saturating_sub(self.read);
        if n > MAX_ARRAY || n.saturating_mul(min_size) > left {
            return Err(self.wrong(&format!("{n} {what} cannot fit in the {left} bytes that are left")));
        }
        Ok(n)
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<()> {
        self.input.read_exact(buffer).map_err(|_| self.wrong("cut off"))?;
        self.read += buffer.len() as u64;
        Ok(())
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut buffer = [0; N];
        self.fill(&mut buffer)?;
        Ok(buffer)
    }

    fn bytes(&mut self, n: u64) -> Result<Vec<u8>> {
        if n > MAX_STRING || n > self.n_bytes.saturating_sub(self.read) {
            return Err(self.wrong(&format!("a text of {n} bytes cannot be right")));
        }
        let mut buffer = vec![0; n as usize];
        self.fill(&mut buffer)?;
        Ok(buffer)
    }

    fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// A count: 32 bits in version 1, 64 since.
    fn length(&mut self) -> Result<u64> {
        if self.version == 1 { self.u32().map(u64::from) } else { self.u64() }
    }

    fn string(&mut self) -> Result<String> {
        let n = self.length()?;
        let mut bytes = self.bytes(n)?;
        while bytes.last() == Some(&0) {
            bytes.pop(); // some writers end texts with NUL
        }
        Ok(String::from_utf8(bytes).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned()))
    }

    fn value(&mut self, kind: u32) -> Result<Value> {
        Ok(match kind {
            6 | 12 => Value::Float(self.number(kind)?),
            7 => Value::Bool(self.array::<1>()? != [0]),
            8 => Value::Text(self.string()?),
            9 => self.array_value()?,
            _ => Value::Int(self.integer(kind)?),
        })
    }

    fn array_value(&mut self) -> Result<Value> {
        let (kind, n) = (self.u32()?, self.length()?);
        Ok(match kind {
            8 => {
                let n = self.plausible(n, if self.version == 1 { 4 } else { 8 }, "texts")?;
                Value::Texts((0..n).map(|_| self.string()).collect::<Result<_>>()?)
            }
            6 | 12 => {
                let n = self.plausible(n, 4, "numbers")?;
                Value::Floats((0..n).map(|_| Ok(self.number(kind)? as f32)).collect::<Result<_>>()?)
            }
            9 => return Err(self.wrong("arrays of arrays are not supported")),
            _ => {
                let n = self.plausible(n, 1, "numbers")?;
                Value::Ints((0..n).map(|_| self.integer(kind)).collect::<Result<_>>()?)
            }
        })
    }

    fn number(&mut self, kind: u32) -> Result<f64> {
        if kind == 6 {
            Ok(f64::from(f32::from_le_bytes(self.array()?)))
        } else {
            Ok(f64::from_le_bytes(self.array()?))
        }
    }

    fn integer(&mut self, kind: u32) -> Result<i64> {
        Ok(match kind {
            0 | 7 => i64::from(u8::from_le_bytes(self.array()?)),
            1 => i64::from(i8::from_le_bytes(self.array()?)),
            2 => i64::from(u16::from_le_bytes(self.array()?)),
            3 => i64::from(i16::from_le_bytes(self.array()?)),
            4 => i64::from(self.u32()?),
            5 => i64::from(i32::from_le_bytes(self.array()?)),
            10 => i64::try_from(self.u64()?).unwrap_or(i64::MAX),
            11 => i64::from_le_bytes(self.array()?),
            _ => return Err(self.wrong(&format!("value type {kind} is not known"))),
        })
    }

    fn tensor(&mut self) -> Result<(String, Stored)> {
        let (name, n_dims) = (self.string()?, self.u32()?);
        if n_dims > MAX_DIMS {
            return Err(self.wrong(&format!("tensor `{name}` has {n_dims} dimensions")));
        }
        let mut shape = Vec::new();
        for _ in 0..n_dims {
            shape.insert(0, usize::try_from(self.length()?).unwrap_or(usize::MAX));
        }
        let (kind, offset) = (self.u32()?, self.u64()?);
        let Some(encoding) = Encoding::from_ggml(kind) else {
            return Err(Error::file(
                self.path,
                format!("tensor `{name}` has the type {kind}, which is not supported"),
                "use a file in F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0 or Q2_K to Q6_K",
            ));
        };
        Ok((name, Stored { path: self.path.to_path_buf(), offset, shape, encoding }))
    }
}
