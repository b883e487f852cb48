//! How do two processes share one index?
//!
//! Readers hold a shared lock while they load, a writer an exclusive one while it updates. The
//! operating system lets go of both when a process dies.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use crate::cancel::Cancel;
use crate::error::{Error, Result};

const LOCK_FILE: &str = "lock";
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Who may hold the lock at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Share {
    /// Other readers.
    Readers,
    /// Nobody.
    Nobody,
}

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
            let tried = match share {
                Share::Readers => file.try_lock_shared(),
                Share::Nobody => file.try_lock(),
            };
            match tried {
                Ok(()) => return Ok(Self(file)),
                // Some network file systems have no locks; one process at a time is then the rule.
                Err(TryLockError::Error(wrong)) if wrong.kind() == ErrorKind::Unsupported => {
                    return Ok(Self(file));
                }
                Err(TryLockError::Error(wrong)) => return Err(Error::io("lock", &path)(wrong)),
                Err(TryLockError::WouldBlock) => {}
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
