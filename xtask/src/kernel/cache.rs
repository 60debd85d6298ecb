// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What took long to make is kept, under a name that says what it was made from.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};

use crate::run::Failed;

/// The folder of finished things, ours alone while this lives, or until it is released.
pub(crate) struct Cache {
    root: PathBuf,
    lock: File,
}

impl Cache {
    /// Opens the user's cache, and waits for another command that uses it.
    pub(crate) fn open() -> Result<Self, Failed> {
        let root = folder()?;
        fs::create_dir_all(root.join("logs")).map_err(|error| failed(&root, error))?;
        let path = root.join("lock");
        let lock = File::create(&path).map_err(|error| failed(&path, error))?;
        if lock.try_lock().is_err() {
            eprintln!("xtask: another kernel command is running; waiting for it");
            lock.lock().map_err(|error| failed(&path, error))?;
        }
        Ok(Self { root, lock })
    }

    /// Lets others have it, before something that only reads and may take for ever.
    pub(crate) fn release(&self) -> Result<(), Failed> {
        self.lock
            .unlock()
            .map_err(|error| failed(&self.root, error))
    }

    pub(crate) fn logs(&self) -> PathBuf {
        self.root.join("logs")
    }

    /// Where a thing is, if it was finished once.
    pub(crate) fn find(&self, name: &str) -> Option<PathBuf> {
        let path = self.root.join(name);
        path.exists().then_some(path)
    }

    /// A folder that may be half-made at any time, for builds that find out themselves.
    pub(crate) fn folder(&self, name: &str) -> Result<PathBuf, Failed> {
        let path = self.root.join(name);
        fs::create_dir_all(&path).map_err(|error| failed(&path, error))?;
        Ok(path)
    }

    /// Finds a thing or makes it. What is interrupted leaves nothing that looks finished.
    pub(crate) fn make(
        &self,
        name: &str,
        work: impl FnOnce(&Path) -> Result<(), Failed>,
    ) -> Result<PathBuf, Failed> {
        if let Some(done) = self.find(name) {
            return Ok(done);
        }
        work(&self.begin(name)?)?;
        self.finish(name)
    }

    /// An empty folder to make a thing in.
    pub(crate) fn begin(&self, name: &str) -> Result<PathBuf, Failed> {
        let partial = self.partial(name);
        remove(&partial)?;
        fs::create_dir_all(&partial).map_err(|error| failed(&partial, error))?;
        Ok(partial)
    }

    /// It is finished.
    pub(crate) fn finish(&self, name: &str) -> Result<PathBuf, Failed> {
        let done = self.root.join(name);
        fs::rename(self.partial(name), &done).map_err(|error| failed(&done, error))?;
        Ok(done)
    }

    fn partial(&self, name: &str) -> PathBuf {
        self.root.join(format!("{name}.partial"))
    }
}

/// A short name for everything a thing was made from.
pub(crate) fn key(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        // With its length, or two parts could pass for two others.
        hash.update(part.len().to_le_bytes());
        hash.update(part);
    }
    let bytes = hash.finalize();
    bytes[..6]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Removes a folder, never what somebody has mounted in it.
pub(crate) fn remove(path: &Path) -> Result<(), Failed> {
    let status = Command::new("rm")
        .args(["-rf", "--one-file-system", "--"])
        .arg(path)
        .status();
    match status {
        Ok(status) if status.success() => Ok(()),
        _ => Err(Failed(format!("cannot remove {}", path.display()))),
    }
}

fn folder() -> Result<PathBuf, Failed> {
    let absolute = |name: &str| {
        let path = PathBuf::from(std::env::var_os(name)?);
        path.is_absolute().then_some(path)
    };
    absolute("XDG_CACHE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".cache")))
        .map(|cache| cache.join("ringfence/kernel"))
        .ok_or_else(|| Failed("neither XDG_CACHE_HOME nor HOME says where a cache goes".into()))
}

pub(crate) fn failed(path: &Path, error: std::io::Error) -> Failed {
    Failed(format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_tell_parts_apart() {
        assert_eq!(key(&["a", "b"]), key(&["a", "b"]));
        assert_ne!(key(&["ab", ""]), key(&["a", "b"]));
        assert_ne!(key(&["a", "b"]), key(&["b", "a"]));
        assert_eq!(key(&[]).len(), 12);
    }
}
