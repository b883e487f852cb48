//! Where do the tensors of a Hugging Face folder lie?

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::path::Path;

use safetensors::Dtype;
use safetensors::tensor::Metadata;
use serde::Deserialize;

use crate::error::{Error, Result};
use crate::model::config::read_json;
use crate::model::stored::{Encoding, Stored};

/// The longest header taken for real.
const MAX_HEADER: u64 = 100_000_000;
const REMEDY: &str = "the file is damaged or incomplete: get it again";

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// Every tensor of the folder's one file, or of the shards that its index lists.
pub(super) fn tensors_of_folder(folder: &Path) -> Result<BTreeMap<String, Stored>> {
    let (single, index) = (folder.join("model.safetensors"), folder.join("model.safetensors.index.json"));
    if single.is_file() {
        return tensors_of_file(&single);
    }
    if !index.is_file() {
        return Err(Error::file(
            folder,
            "holds neither model.safetensors nor model.safetensors.index.json",
            "name a folder in Hugging Face layout, or a .gguf file",
        ));
    }
    let shards: BTreeSet<String> = read_json::<Index>(&index)?.weight_map.into_values().collect();
    let mut tensors = BTreeMap::new();
    for shard in shards {
        if shard.contains(['/', '\\']) {
            return Err(Error::file(&index, format!("names the shard `{shard}` outside its folder"), REMEDY));
        }
        tensors.extend(tensors_of_file(&folder.join(shard))?);
    }
    Ok(tensors)
}

/// Every tensor of one safetensors file.
pub(crate) fn tensors_of_file(path: &Path) -> Result<BTreeMap<String, Stored>> {
    let mut file = File::open(path).map_err(Error::io("open", path))?;
    let file_bytes = file.metadata().map_err(Error::io("read", path))?.len();
    let mut length = [0; 8];
    file.read_exact(&mut length).map_err(|_| Error::file(path, "is too short for safetensors", REMEDY))?;
    let n = u64::from_le_bytes(length);
    if n > MAX_HEADER || n > file_bytes.saturating_sub(8) {
        return Err(Error::file(path, format!("a header of {n} bytes in a file of {file_bytes}"), REMEDY));
    }
    let mut header = vec![0; n as usize];
    file.read_exact(&mut header).map_err(Error::io("read", path))?;
    let metadata: Metadata = serde_json::from_slice(&header)
        .map_err(|e| Error::file(path, format!("the header cannot be understood: {e}"), REMEDY))?;
    let mut tensors = BTreeMap::new();
    for (name, info) in metadata.tensors() {
        let encoding = match info.dtype {
            Dtype::F32 => Encoding::F32,
            Dtype::F16 => Encoding::F16,
            Dtype::BF16 => Encoding::Bf16,
            Dtype::I64 if name.ends_with("position_ids") => continue, // a buffer, no weight
            other => {
                return Err(Error::file(
                    path,
                    format!("tensor `{name}` has the type {other:?}, which is not supported"),
                    "use a model in F32, F16 or BF16",
                ));
            }
        };
        let offset = 8 + n + info.data_offsets.0 as u64;
        tensors
            .insert(name, Stored { path: path.to_path_buf(), offset, shape: info.shape.clone(), encoding });
    }
    Ok(tensors)
}
