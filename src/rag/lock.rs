//! How do two processes share one index?
//!
//! Readers hold a shared lock while they load, a writer an exclusive one while it updates. The
//! operating system lets go of both when a process dies.

use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use crate::cancel::Cancel;
use crate::error::{Error, Result};
use crate::files::{Share, try_lock};

const LOCK_FILE: &str = "lock";
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Held until dropped.
pub(super) struct Lock(#[allow(dead_code, reason = "closing it lets go of the lock")] Option<File>);

impl Lock {
    /// Waits until the lock can be had; `on_wait` is called once if it must wait at all.
    pub(super) fn take(dir: &Path, share: Share, cancel: &Cancel, on_wait: &mut dyn FnMut()) -> Result<Self> {
        let path = dir.join(LOCK_FILE);
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let file = match file {
            // Where nobody may write, a reader needs no lock; it takes one that is there.
            Err(e) if share == Share::Readers && is_refusal(&e) => match File::open(&path) {
                Ok(file) => file,
                Err(_) => return Ok(Self(None)),
            },
            other => other.map_err(Error::io("open", &path))?,
        };
        let mut told = false;
        loop {
            if try_lock(&file, share).map_err(Error::io("lock", &path))? {
                return Ok(Self(Some(file)));
            }
            if !told {
                on_wait();
                told = true;
            }
            cancel.check()?;
            std::thread::sleep(LOOK_AGAIN);
        }
    }
}

fn is_refusal(e: &std::io::Error) -> bool {
    matches!(e.kind(), ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem)
}
