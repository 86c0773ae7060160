//! Copies bytes while hashing them, in one pass, and shares such work between threads.

use std::fs::File;
use std::io::{self, Read};
use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use rustix::fs::Advice;

use super::digest::Hasher;
use super::direct::{Writer, block_bytes, with_block};

/// After so many bytes the disk is set to work on them, so that the final sync finds most of them written.
const WRITE_BACK_BYTES: u64 = 8 << 20;

/// Most threads on one tree: beyond this the disk decides.
const MAX_THREADS: usize = 4;

/// Which side of a copy failed.
#[derive(Debug)]
pub(crate) enum CopyError {
    Read(io::Error),
    Write(io::Error),
}

/// Fills `buffer` as far as the reader goes and says how far that was.
pub(crate) fn read_full(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(filled)
}

/// Appends all of `reader` to `file`, whose first `at` bytes are already in `hasher`, and returns its new length. A
/// reader that would exceed `limit_bytes` in all is an error. Blocks of zeros become holes.
pub(crate) fn append(
    reader: &mut impl Read,
    file: &File,
    at: u64,
    limit_bytes: u64,
    hasher: &mut Hasher,
) -> Result<u64, CopyError> {
    with_block(|block| {
        let block = &mut block[..block_bytes(limit_bytes - at)];
        let filled = read_full(reader, block).map_err(CopyError::Read)?;
        append_from(block, filled, reader, file, at, limit_bytes, hasher)
    })
}

/// As [`append`], when the first `filled` bytes of the reader are in the block already.
pub(crate) fn append_from(
    block: &mut [u8],
    filled: usize,
    reader: &mut impl Read,
    file: &File,
    at: u64,
    limit_bytes: u64,
    hasher: &mut Hasher,
) -> Result<u64, CopyError> {
    let mut writer = Writer::new(file);
    let (mut end, mut begun, mut ends_in_hole, mut count) = (at, at, false, filled);
    loop {
        if count as u64 > limit_bytes - end {
            let error = io::Error::new(io::ErrorKind::InvalidData, "there are more bytes than the size");
            return Err(CopyError::Read(error));
        }
        hasher.update(&block[..count]);
        let is_last = count < block.len();
        if count > 0 {
            // A hole gets its length from what follows, or at the end.
            ends_in_hole = !is_last && is_zero(block);
            if !ends_in_hole && writer.append(block, count, end).map_err(CopyError::Write)? {
                begun = end + count as u64;
            }
        }
        end += count as u64;
        if end - begun >= WRITE_BACK_BYTES {
            // Dirty pages are not dropped by this advice; the kernel begins to write them.
            let _ = rustix::fs::fadvise(file, begun, NonZero::new(end - begun), Advice::DontNeed);
            begun = end;
        }
        if is_last {
            return Ok(end);
        }
        count = read_full(reader, block).map_err(CopyError::Read)?;
        // A hole at the very end gives the file no length by itself.
        if count == 0 && ends_in_hole {
            file.set_len(end).map_err(CopyError::Write)?;
            return Ok(end);
        }
    }
}

/// Whether all of it is zero: the first byte is, and each is like the one before.
fn is_zero(bytes: &[u8]) -> bool {
    bytes.first().is_some_and(|first| *first == 0) && bytes[1..] == bytes[..bytes.len() - 1]
}

/// Hashes all of `reader` and counts its bytes.
///
/// # Errors
/// The reader's.
pub fn hash(reader: &mut impl Read, hasher: &mut Hasher) -> io::Result<u64> {
    with_block(|block| {
        let mut total = 0;
        loop {
            let count = read_full(reader, block)?;
            hasher.update(&block[..count]);
            total += count as u64;
            if count < block.len() {
                return Ok(total);
            }
        }
    })
}

/// Does `work` for every item on as many threads as pay; after the first error no further item is begun.
///
/// # Errors
/// The first that `work` returned.
pub fn for_each<T: Sync, E: Send>(items: &[T], work: impl Fn(&T) -> Result<(), E> + Sync) -> Result<(), E> {
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    let next = AtomicUsize::new(0);
    let failed = Mutex::new(None);
    let run = || {
        while let Some(item) = items.get(next.fetch_add(1, Relaxed)) {
            if let Err(error) = work(item) {
                next.store(items.len(), Relaxed);
                failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..cores.min(MAX_THREADS).min(items.len()) {
            scope.spawn(run);
        }
        run();
    });
    failed.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;
    use crate::content::Digest;
    use crate::content::direct::BLOCK_BYTES;

    #[test]
    fn append_continues_where_an_earlier_one_stopped_and_keeps_holes() {
        let mut bytes = vec![7; BLOCK_BYTES + 5];
        bytes.extend(vec![0; 3 * BLOCK_BYTES]);
        bytes.extend([1, 2, 3]);
        let file = tempfile::tempfile().unwrap();
        let mut hasher = Hasher::new();
        let cut = 100_000;
        append(&mut &bytes[..cut], &file, 0, u64::MAX, &mut hasher).unwrap();
        let end = append(&mut &bytes[cut..], &file, cut as u64, bytes.len() as u64, &mut hasher).unwrap();
        assert_eq!(end, bytes.len() as u64);
        assert_eq!(hasher.finish(), Digest::of(&bytes));
        let mut read = Hasher::new();
        assert_eq!(hash(&mut &file, &mut read).unwrap(), bytes.len() as u64);
        let mut whole = vec![0; bytes.len()];
        file.read_exact_at(&mut whole, 0).unwrap();
        assert!(whole == bytes);
    }

    #[test]
    fn more_than_the_limit_is_refused() {
        let file = tempfile::tempfile().unwrap();
        let append = |bytes: &[u8]| append(&mut &bytes[..], &file, 0, 3, &mut Hasher::new());
        assert!(matches!(append(b"abc"), Ok(3)));
        assert!(matches!(append(b"abcd"), Err(CopyError::Read(e)) if e.kind() == io::ErrorKind::InvalidData));
    }

    #[test]
    fn for_each_does_all_or_tells_the_error() {
        let done = AtomicUsize::new(0);
        let items: Vec<usize> = (0..1000).collect();
        let add = |n: &usize| {
            done.fetch_add(*n, Relaxed);
            Ok::<_, ()>(())
        };
        for_each(&items, add).unwrap();
        assert_eq!(done.into_inner(), 499_500);
        assert_eq!(for_each(&items, |&n| if n == 17 { Err(n) } else { Ok(()) }), Err(17));
        assert_eq!(for_each(&[], |&(): &()| Err(())), Ok(()));
    }
}
