//! Large files past the page cache: content is written once and read once, seldom soon after, and copying it through the
//! cache costs more than the disk does and pushes out what others need. Where a file system cannot do it (some
//! memory-backed ones), the cache is used as ever. Small files always go through it: there one sync serves many.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

use rustix::fs::OFlags;

/// What one transfer takes: large enough that a disk is busy with it for longer than the call costs.
pub(crate) const BLOCK_BYTES: usize = 1 << 20;
/// From this size on a piece goes past the cache: below it waiting for the disk costs more than copying.
const DIRECT_BYTES: usize = 64 << 10;
/// Addresses in memory, offsets in the file and lengths of direct transfers are multiples of this; no disk has larger sectors.
const ALIGNMENT: usize = 4096;

/// Memory at an address that direct transfers can use.
struct Block {
    bytes: Vec<u8>,
    start: usize,
}

impl Block {
    fn new() -> Self {
        let bytes = vec![0; BLOCK_BYTES + ALIGNMENT];
        let start = bytes.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
        Self { bytes, start }
    }
}

thread_local! {
    /// One block for each thread that copies: a tree has many files.
    static BLOCK: Cell<Option<Block>> = const { Cell::new(None) };
}

/// Lends a buffer of [`BLOCK_BYTES`].
pub(crate) fn with_block<T>(work: impl FnOnce(&mut [u8]) -> T) -> T {
    let mut block = BLOCK.take().unwrap_or_else(Block::new);
    let done = work(&mut block.bytes[block.start..][..BLOCK_BYTES]);
    BLOCK.set(Some(block));
    done
}

/// How much of a block a file of `expected_bytes` takes, with room to see that nothing follows.
pub(crate) fn block_bytes(expected_bytes: u64) -> usize {
    let wanted = usize::try_from(expected_bytes.saturating_add(1)).unwrap_or(BLOCK_BYTES).min(BLOCK_BYTES);
    wanted.next_multiple_of(ALIGNMENT)
}

fn is_aligned(bytes: &[u8]) -> bool {
    bytes.as_ptr().align_offset(ALIGNMENT) == 0
}

/// Switches a file between the cache and the disk; whether it could.
fn set_direct(file: &File, direct: bool) -> bool {
    let switched = rustix::fs::fcntl_getfl(file).and_then(|flags| {
        let flags = if direct { flags | OFlags::DIRECT } else { flags - OFlags::DIRECT };
        rustix::fs::fcntl_setfl(file, flags)
    });
    switched.is_ok()
}

/// Writes to a file piece by piece, from its end on.
pub(crate) struct Writer<'a> {
    file: &'a File,
    is_direct: bool,
    is_refused: bool,
}

impl<'a> Writer<'a> {
    pub(crate) const fn new(file: &'a File) -> Self {
        Self { file, is_direct: false, is_refused: false }
    }

    /// Writes the first `length` bytes of `block` at `offset`, which is the file's end. What follows them in the block is
    /// scratch. Whether they are on the disk already, or on their way to it.
    pub(crate) fn append(&mut self, block: &mut [u8], length: usize, offset: u64) -> io::Result<bool> {
        let padded = length.next_multiple_of(ALIGNMENT);
        let fits = length >= DIRECT_BYTES
            && padded <= block.len()
            && offset.is_multiple_of(ALIGNMENT as u64)
            && is_aligned(block);
        if fits && !self.is_refused && !self.is_direct {
            self.is_direct = set_direct(self.file, true);
            self.is_refused = !self.is_direct;
        }
        if fits && self.is_direct {
            block[length..padded].fill(0);
            match self.file.write_all_at(&block[..padded], offset) {
                Ok(()) if padded == length => return Ok(true),
                Ok(()) => return self.file.set_len(offset + length as u64).map(|()| true),
                Err(error) if error.raw_os_error() == Some(rustix::io::Errno::INVAL.raw_os_error()) => {
                    self.is_refused = true;
                }
                Err(error) => return Err(error),
            }
        }
        self.through_the_cache();
        self.file.write_all_at(&block[..length], offset).map(|()| false)
    }

    fn through_the_cache(&mut self) {
        if self.is_direct {
            set_direct(self.file, false);
            self.is_direct = false;
        }
    }
}

impl Drop for Writer<'_> {
    /// Whoever has the file next reads and writes it as ever.
    fn drop(&mut self) {
        self.through_the_cache();
    }
}

/// Reads what is left of a file, once.
pub(crate) struct Reader {
    file: File,
    left_bytes: u64,
    is_direct: bool,
}

impl Reader {
    /// Reads `file` from `offset`, where it stands, to its end at `size_bytes`.
    pub(crate) fn new(file: File, offset: u64, size_bytes: u64) -> Self {
        let left_bytes = size_bytes.saturating_sub(offset);
        let fits = left_bytes >= DIRECT_BYTES as u64 && offset.is_multiple_of(ALIGNMENT as u64);
        Self { is_direct: fits && set_direct(&file, true), file, left_bytes }
    }

    /// The file that is read.
    pub(crate) const fn file(&self) -> &File {
        &self.file
    }

    fn through_the_cache(&mut self) {
        if self.is_direct {
            set_direct(&self.file, false);
            self.is_direct = false;
        }
    }
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left_bytes == 0 {
            return Ok(0);
        }
        let whole = buffer.len() / ALIGNMENT * ALIGNMENT;
        if whole == 0 || !is_aligned(buffer) {
            self.through_the_cache();
        }
        let count = if self.is_direct {
            match self.file.read(&mut buffer[..whole]) {
                Err(error) if error.raw_os_error() == Some(rustix::io::Errno::INVAL.raw_os_error()) => {
                    self.through_the_cache();
                    self.file.read(buffer)?
                }
                read => read?,
            }
        } else {
            self.file.read(buffer)?
        };
        if !count.is_multiple_of(ALIGNMENT) {
            self.through_the_cache();
        }
        self.left_bytes = if count == 0 { 0 } else { self.left_bytes.saturating_sub(count as u64) };
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn pattern(length: usize) -> Vec<u8> {
        (0..length).map(|at| (at * 31 % 251) as u8).collect()
    }

    #[test]
    fn what_is_written_is_what_is_read_whatever_the_length_and_the_buffer() {
        let folder = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        for length in [0, 1, 4095, 4096, DIRECT_BYTES - 1, DIRECT_BYTES, DIRECT_BYTES + 1, BLOCK_BYTES, BLOCK_BYTES + 1]
        {
            let bytes = pattern(length);
            let path = folder.path().join(length.to_string());
            let file = File::create_new(&path).unwrap();
            with_block(|block| {
                let mut writer = Writer::new(&file);
                for (at, piece) in bytes.chunks(BLOCK_BYTES).enumerate() {
                    block[..piece.len()].copy_from_slice(piece);
                    writer.append(block, piece.len(), (at * BLOCK_BYTES) as u64).unwrap();
                }
            });
            assert!(std::fs::read(&path).unwrap() == bytes, "{length}");
            for odd in [0, 1] {
                let mut reader = Reader::new(File::open(&path).unwrap(), 0, length as u64);
                let mut read = Vec::new();
                with_block(|block| {
                    loop {
                        let count = reader.read(&mut block[odd..]).unwrap();
                        read.extend_from_slice(&block[odd..][..count]);
                        if count == 0 {
                            break;
                        }
                    }
                });
                assert!(read == bytes, "{length} through a buffer at {odd}");
            }
        }
    }

    #[test]
    fn a_memory_file_system_that_refuses_is_written_all_the_same() {
        let mut shared = tempfile::Builder::new().tempfile_in("/dev/shm").unwrap();
        shared.write_all(b"").unwrap();
        let bytes = pattern(BLOCK_BYTES);
        with_block(|block| {
            block.copy_from_slice(&bytes);
            Writer::new(shared.as_file()).append(block, BLOCK_BYTES, 0).unwrap();
        });
        assert!(std::fs::read(shared.path()).unwrap() == bytes);
    }
}
