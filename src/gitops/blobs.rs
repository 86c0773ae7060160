//! The content of files, streamed from `git cat-file` to disk by a thread of its own. Knows neither which files are
//! wanted nor what becomes of them.

use std::{
    fs::{File, OpenOptions, Permissions},
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    sync::mpsc,
    time::timeout,
};

use super::{
    git::{CommitId, GitError, Repository},
    listing::{ExportError, ListedFile},
};

/// Longest silence of git while it delivers blobs.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(60);
/// Blobs travel to the writing thread in pieces of this size.
const PIECE_BYTES: usize = 256 << 10;
/// Pieces on their way: bounds memory to 4 MiB.
const PIECES_IN_FLIGHT: usize = 16;
/// Git LFS pointers are at most this long and begin like this (Git LFS specification).
const LFS_POINTER_MAX_BYTES: u64 = 1024;
const LFS_POINTER_START: &[u8] = b"version https://git-lfs.github.com/spec/";

/// A step of writing a file.
enum Piece {
    Begin(PathBuf, bool),
    Bytes(Vec<u8>),
}

/// Writes the blobs of `files`; answers the paths that turned out to be Git LFS pointers, which are not written.
pub(crate) async fn fetch(
    repository: &Repository,
    commit: &CommitId,
    building: &Path,
    files: &[ListedFile],
) -> Result<Vec<PathBuf>, ExportError> {
    let commit = commit.as_str();
    let git = |source| ExportError::Git { commit: commit.to_owned(), source };
    let mut child = repository.converse(["cat-file", "--batch"]).map_err(git)?;
    let (Some(mut requests), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(git(GitError::Run(io::Error::other("git has no input or output"))));
    };
    let (pieces, written) = mpsc::channel(PIECES_IN_FLIGHT);
    let writer = {
        let into = building.to_owned();
        tokio::task::spawn_blocking(move || write(&into, written))
    };
    let ask = async {
        for file in files {
            requests.write_all(file.blob.as_bytes()).await?;
            requests.write_all(b"\n").await?;
        }
        requests.shutdown().await?;
        drop(requests);
        Ok::<_, io::Error>(())
    };
    let conversation = tokio::try_join!(ask, receive(BufReader::new(answers), files, pieces));
    let writing = writer.await.map_err(io::Error::other).and_then(|result| result);
    // A full disk ends the conversation too; its own error says more.
    writing.map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => {
            ExportError::UnsafePath { commit: commit.to_owned(), path: "the same name twice".to_owned() }
        }
        _ => ExportError::Write { commit: commit.to_owned(), source },
    })?;
    let ((), pointers) = conversation.map_err(|error| git(GitError::Run(error)))?;
    Ok(pointers)
}

/// Reads `oid SP type SP size LF bytes LF` for every file, in order.
async fn receive(
    mut answers: BufReader<tokio::process::ChildStdout>,
    files: &[ListedFile],
    pieces: mpsc::Sender<Piece>,
) -> io::Result<Vec<PathBuf>> {
    let stopped = |_| io::Error::other("writing stopped");
    let mut pointers = Vec::new();
    for file in files {
        let mut header = String::new();
        patient(answers.read_line(&mut header)).await?;
        if header.trim_end() != format!("{} blob {}", file.blob, file.size_bytes) {
            return Err(io::Error::other(format!("git has no blob {}: {}", file.blob, header.trim_end())));
        }
        let mut left = file.size_bytes;
        let mut begun = false;
        while left > 0 || !begun {
            let mut piece = vec![0; usize::try_from(left).unwrap_or(PIECE_BYTES).min(PIECE_BYTES)];
            patient(answers.read_exact(&mut piece)).await?;
            left -= piece.len() as u64;
            if !begun && file.size_bytes <= LFS_POINTER_MAX_BYTES && piece.starts_with(LFS_POINTER_START) {
                pointers.push(file.path.clone());
                break;
            }
            if !begun {
                pieces.send(Piece::Begin(file.path.clone(), file.executable)).await.map_err(stopped)?;
                begun = true;
            }
            pieces.send(Piece::Bytes(piece)).await.map_err(stopped)?;
        }
        let mut end = [0];
        patient(answers.read_exact(&mut end)).await?;
    }
    Ok(pointers)
}

async fn patient<T>(read: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(SILENCE_TIMEOUT, read).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

/// Writes files as the pieces come. Files are read-only: nobody has a reason to change an export.
fn write(into: &Path, mut pieces: mpsc::Receiver<Piece>) -> io::Result<()> {
    let mut current: Option<File> = None;
    while let Some(piece) = pieces.blocking_recv() {
        match piece {
            Piece::Begin(path, executable) => {
                let mode = if executable { 0o555 } else { 0o444 };
                let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(into.join(path))?;
                file.set_permissions(Permissions::from_mode(mode))?;
                current = Some(file);
            }
            Piece::Bytes(bytes) => {
                if let Some(file) = &mut current {
                    file.write_all(&bytes)?;
                }
            }
        }
    }
    Ok(())
}
