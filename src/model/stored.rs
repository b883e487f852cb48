//! How does a tensor on disk become float32 in memory?
//!
//! A [`Stored`] tensor is read a block of rows at a time, several blocks at once, each decoded straight
//! into its place: beside the result only a few blocks are ever held.

use std::borrow::Cow;
use std::fs::File;
use std::path::PathBuf;

use candle_core::quantized::{GgmlDType, QStorage, QTensor};
use candle_core::{Device, Tensor};
use half::{bf16, f16};
use rayon::prelude::*;

use crate::error::{Error, Result};

/// How many numbers are decoded at once: enough to be worth a task, few enough for a core's own cache.
const BLOCK_NUMBERS: usize = 1 << 15;

/// How the numbers of a tensor are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// IEEE float32.
    F32,
    /// IEEE float16.
    F16,
    /// The upper half of a float32.
    Bf16,
    /// One of ggml's quantised types, in blocks along the last dimension.
    Quantised(GgmlDType),
}

impl Encoding {
    /// The encoding with ggml's number `kind`, if it can be read.
    pub fn from_ggml(kind: u32) -> Option<Self> {
        Some(match kind {
            0 => Self::F32,
            1 => Self::F16,
            30 => Self::Bf16,
            2 => Self::Quantised(GgmlDType::Q4_0),
            3 => Self::Quantised(GgmlDType::Q4_1),
            6 => Self::Quantised(GgmlDType::Q5_0),
            7 => Self::Quantised(GgmlDType::Q5_1),
            8 => Self::Quantised(GgmlDType::Q8_0),
            10 => Self::Quantised(GgmlDType::Q2K),
            11 => Self::Quantised(GgmlDType::Q3K),
            12 => Self::Quantised(GgmlDType::Q4K),
            13 => Self::Quantised(GgmlDType::Q5K),
            14 => Self::Quantised(GgmlDType::Q6K),
            _ => return None,
        })
    }

    /// Numbers per block and bytes per block.
    fn block(self) -> (usize, usize) {
        match self {
            Self::F32 => (1, 4),
            Self::F16 | Self::Bf16 => (1, 2),
            Self::Quantised(kind) => (kind.block_size(), kind.type_size()),
        }
    }

    /// Decodes `bytes` into `numbers`, which has just as many places.
    fn decode(self, bytes: &[u8], numbers: &mut [f32]) -> Result<()> {
        match self {
            Self::F32 => {
                for (x, b) in numbers.iter_mut().zip(bytes.chunks_exact(4)) {
                    *x = f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
                }
            }
            Self::F16 => {
                for (x, b) in numbers.iter_mut().zip(bytes.chunks_exact(2)) {
                    *x = f16::from_le_bytes([b[0], b[1]]).to_f32();
                }
            }
            Self::Bf16 => {
                for (x, b) in numbers.iter_mut().zip(bytes.chunks_exact(2)) {
                    *x = bf16::from_le_bytes([b[0], b[1]]).to_f32();
                }
            }
            Self::Quantised(kind) => {
                let blocks = QStorage::from_data(Cow::Borrowed(bytes), &Device::Cpu, kind)?;
                let decoded = QTensor::new(blocks, numbers.len())?.dequantize(&Device::Cpu)?;
                let (storage, _) = decoded.storage_and_layout();
                if let candle_core::Storage::Cpu(cpu) = &*storage {
                    numbers.copy_from_slice(cpu.as_slice()?);
                }
            }
        }
        Ok(())
    }
}

/// In which order the rows of a matrix come out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowOrder {
    /// As they are written.
    AsStored,
    /// Of query and key projections in GGUF files of the Llama family: each head's rows come in
    /// pairs there (x0, y0, x1, y1, ...) and are wanted as two halves (x0, x1, ..., y0, y1, ...).
    HalvesFromPairs {
        /// Rows per head.
        head_dim: usize,
    },
}

impl RowOrder {
    /// The stored row that belongs in place `row`.
    fn source(self, row: usize) -> usize {
        match self {
            Self::AsStored => row,
            Self::HalvesFromPairs { head_dim } => {
                let (head, place) = (row / head_dim, row % head_dim);
                let half = head_dim / 2;
                head * head_dim + (place % half) * 2 + place / half
            }
        }
    }
}

/// A tensor that lies in a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Stored {
    /// The file.
    pub path: PathBuf,
    /// Its first byte.
    pub offset: u64,
    /// Its shape, row-major.
    pub shape: Vec<usize>,
    /// How its numbers are written.
    pub encoding: Encoding,
}

impl Stored {
    /// How many bytes it takes in the file; `None` when its shape cannot be right.
    pub fn n_bytes(&self) -> Option<u64> {
        let (block, size) = self.encoding.block();
        let n = self.shape.iter().try_fold(1usize, |n, &dim| n.checked_mul(dim))?;
        if self.shape.last().is_none_or(|last| last % block != 0) {
            return None;
        }
        (n / block).checked_mul(size).map(|n| n as u64)
    }

    /// What is wrong with it in a file of `file_bytes`, if anything.
    pub fn fault(&self, file_bytes: u64) -> Option<String> {
        let Some(n_bytes) = self.n_bytes() else {
            return Some(format!("has the impossible shape {:?} for {:?}", self.shape, self.encoding));
        };
        let end = self.offset.saturating_add(n_bytes);
        (end > file_bytes).then(|| format!("ends at byte {end}, the file at {file_bytes}"))
    }

    /// Reads the tensor as float32. The caller has seen to it that [`Stored::fault`] finds none.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn load(&self, order: RowOrder) -> Result<Tensor> {
        let file = File::open(&self.path).map_err(Error::io("open", &self.path))?;
        let row = self.shape.last().copied().unwrap_or(1).max(1);
        let n: usize = self.shape.iter().product();
        let rows_at_once = match order {
            RowOrder::AsStored => (BLOCK_NUMBERS / row).max(1),
            RowOrder::HalvesFromPairs { head_dim } => head_dim,
        };
        let mut numbers = vec![0f32; n];
        numbers.par_chunks_mut(rows_at_once * row).enumerate().try_for_each(|(i, block)| {
            self.load_block(&file, i * rows_at_once * row, block)?;
            if order != RowOrder::AsStored {
                let stored = block.to_vec();
                for (place, target) in block.chunks_exact_mut(row).enumerate() {
                    let source = order.source(place) * row;
                    target.copy_from_slice(&stored[source..source + row]);
                }
            }
            Ok::<_, Error>(())
        })?;
        Ok(Tensor::from_vec(numbers, self.shape.as_slice(), &Device::Cpu)?)
    }

    /// Reads the numbers from the `first` on that fill `block`; both lie on block borders.
    fn load_block(&self, file: &File, first: usize, block: &mut [f32]) -> Result<()> {
        let (numbers, size) = self.encoding.block();
        let mut bytes = vec![0; block.len() / numbers * size];
        let offset = self.offset + (first / numbers * size) as u64;
        read_at(file, &mut bytes, offset).map_err(Error::io("read", &self.path))?;
        self.encoding.decode(&bytes, block)
    }
}

/// Fills `bytes` from `offset` on without moving a shared cursor.
#[cfg(unix)]
fn read_at(file: &File, bytes: &mut [u8], offset: u64) -> std::io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, offset)
}

/// Fills `bytes` from `offset` on; concurrent calls each name their own offset.
#[cfg(windows)]
fn read_at(file: &File, mut bytes: &mut [u8], mut offset: u64) -> std::io::Result<()> {
    while !bytes.is_empty() {
        let n = std::os::windows::fs::FileExt::seek_read(file, bytes, offset)?;
        if n == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        bytes = &mut bytes[n..];
        offset += n as u64;
    }
    Ok(())
}
