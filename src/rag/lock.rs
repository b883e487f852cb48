//! How do two processes share one index?
//!
//! Readers hold a shared lock while they load, a writer an exclusive one while it updates. The
//! operating system lets go of both when a process dies.

use std::fs::{File, OpenOptions};
use std::path::Path;
use std::time::Duration;

use crate::cancel::Cancel;
use crate::error::{Error, Result};
use crate::files::{Share, try_lock};

const LOCK_FILE: &str = "lock";
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Held until dropped.
pub(super) struct Lock(#[allow(dead_code, reason = "closing it lets go of the lock")] File);

impl Lock {
    /// Waits until the lock can be had; `on_wait` is called once if it must wait at all.
    pub(super) fn take(dir: &Path, share: Share, cancel: &Cancel, on_wait: &mut dyn FnMut()) -> Result<Self> {
        let path = dir.join(LOCK_FILE);
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let file = file.map_err(Error::io("open", &path))?;
        let mut told = false;
        loop {
            if try_lock(&file, share).map_err(Error::io("lock", &path))? {
                return Ok(Self(file));
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
