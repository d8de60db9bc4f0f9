//! Files that the gateway makes for itself: keys that only their owner may read, written whole or not.

use std::fmt::Display;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use thiserror::Error;

/// A sentence that names the file.
#[derive(Debug, Error)]
pub enum FileError {
    #[error("{path} cannot be read: {error}", path = path.display())]
    Read { path: PathBuf, error: io::Error },
    #[error("{path} cannot be written: {error}", path = path.display())]
    Write { path: PathBuf, error: io::Error },
    #[error("{path} is of no use: {why}", path = path.display())]
    Unusable { path: PathBuf, why: String },
}

impl FileError {
    pub fn unusable(path: &Path, why: impl Display) -> FileError {
        FileError::Unusable {
            path: path.to_owned(),
            why: why.to_string(),
        }
    }
}

pub fn read_text(path: &Path) -> Result<String, FileError> {
    fs::read_to_string(path).map_err(|error| FileError::Read {
        path: path.to_owned(),
        error,
    })
}

/// Makes `dir` (0700) if need be, and holds off other processes that make files in it until dropped.
pub fn lock_dir(dir: &Path) -> Result<File, FileError> {
    let failed = |error| FileError::Write {
        path: dir.to_owned(),
        error,
    };
    make_dir(dir).map_err(failed)?;
    let lock = dir.join(".lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(lock)
        .map_err(failed)?;
    file.lock().map_err(failed)?;
    Ok(file)
}

/// Replaces the file by `content`, readable by its owner only.
pub fn write_private(path: &Path, content: &[u8]) -> Result<(), FileError> {
    write(path, content, 0o600, None)
}

/// The same, owned by whom `dir` belongs to: what root writes for a service must be readable by that.
pub fn write_private_for(dir: &Path, path: &Path, content: &[u8]) -> Result<(), FileError> {
    write(path, content, 0o600, Some(dir))
}

pub fn write_public(path: &Path, content: &[u8]) -> Result<(), FileError> {
    write(path, content, 0o644, None)
}

fn write(path: &Path, content: &[u8], mode: u32, owner_of: Option<&Path>) -> Result<(), FileError> {
    let mut next = path.as_os_str().to_owned();
    next.push(".new");
    let next = PathBuf::from(next);
    let written = (|| {
        let mut options = OpenOptions::new();
        // What a crash left behind may have another mode.
        let _ = fs::remove_file(&next);
        options.create_new(true).write(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
        let mut file = options.open(&next)?;
        file.write_all(content)?;
        #[cfg(unix)]
        if let Some(dir) = owner_of {
            use std::os::unix::fs::{MetadataExt, fchown};
            let (dir, own) = (fs::metadata(dir)?, file.metadata()?);
            if dir.uid() != own.uid() {
                fchown(&file, Some(dir.uid()), Some(dir.gid()))?;
            }
        }
        file.sync_all()?;
        fs::rename(&next, path)
    })();
    written.map_err(|error| FileError::Write {
        path: path.to_owned(),
        error,
    })
}

/// Makes `dir` (0700) where it is not there.
pub fn make_private_dir(dir: &Path) -> Result<(), FileError> {
    make_dir(dir).map_err(|error| FileError::Write {
        path: dir.to_owned(),
        error,
    })
}

fn make_dir(dir: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir)
}

/// A folder of a test's own, gone with the value.
/// Changes a private file of `dir` while nobody else does: `load` it, `change` what it holds, `write` it again.
///
/// # Errors
/// A sentence for the operator; then nothing has changed.
pub fn change_private<B, T>(
    dir: &Path,
    path: &Path,
    load: impl FnOnce() -> Result<B, FileError>,
    change: impl FnOnce(&mut B) -> Result<T, String>,
    write: impl FnOnce(&B) -> Result<String, String>,
) -> Result<T, String> {
    let sentence = |error: FileError| format!("{error}.");
    make_private_dir(dir).map_err(sentence)?;
    // The folder itself: a lock's file of another user's would be in the gateway's way.
    let lock = File::open(dir).and_then(|dir| dir.lock().map(|()| dir));
    let lock = lock.map_err(|error| format!("{} cannot be locked: {error}.", dir.display()))?;
    let mut book = load().map_err(sentence)?;
    let told = change(&mut book)?;
    let text = write(&book).map_err(|why| format!("{}: {why}.", path.display()))?;
    write_private_for(dir, path, text.as_bytes()).map_err(sentence)?;
    drop(lock);
    Ok(told)
}

#[cfg(test)]
pub(crate) fn test_dir() -> TestDir {
    let name = format!("trunkgate-test-{:016x}", getrandom::u64().unwrap());
    let path = std::env::temp_dir().join(name);
    fs::create_dir(&path).unwrap();
    TestDir(path)
}

#[cfg(test)]
pub(crate) struct TestDir(PathBuf);

#[cfg(test)]
impl TestDir {
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

#[cfg(test)]
impl Drop for TestDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
