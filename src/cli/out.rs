//! Standard output, as every verb writes to it: says what failed when it cannot be written, and whether the one who read
//! it is gone. What is shown is not decided here.

use std::io::{self, Write};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// What a shell says of a program that SIGPIPE ended, as it ends other tools when their reader is gone: 128 and the signal's
/// number. The signal itself is ignored in this process, whose sockets and children must not end it.
pub(super) const READER_GONE: u8 = 128 + 13;

/// Standard output.
pub(super) struct Out {
    inner: io::Stdout,
    used: bool,
}

/// The cause of a write error, so that it is told apart from those of sockets and files.
#[derive(Debug, thiserror::Error)]
#[error("standard output cannot be written")]
struct Unwritten(#[source] io::Error);

impl Out {
    pub(super) fn new() -> Self {
        Self { inner: io::stdout(), used: false }
    }

    /// Writes a line.
    ///
    /// # Errors
    /// If standard output cannot be written.
    pub(super) fn say(&mut self, text: &str) -> io::Result<()> {
        writeln!(self, "{text}")
    }

    /// What is still held back is written, if anything was.
    ///
    /// # Errors
    /// If standard output cannot be written.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        if self.used { self.flush() } else { Ok(()) }
    }

    /// For who has nothing to write for a while: fails if nobody reads any more.
    ///
    /// # Errors
    /// The one that writing would give.
    pub(super) fn check_reader(&self) -> io::Result<()> {
        let mut polled = [PollFd::new(&self.inner, PollFlags::empty())];
        // One that cannot be polled is left to the next write.
        let asked = poll(&mut polled, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
        if asked.is_ok() && polled[0].revents().contains(PollFlags::ERR) {
            return Err(unwritten(io::ErrorKind::BrokenPipe.into()));
        }
        Ok(())
    }
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.used = true;
        self.inner.write(bytes).map_err(unwritten)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush().map_err(unwritten)
    }
}

fn unwritten(error: io::Error) -> io::Error {
    io::Error::new(error.kind(), Unwritten(error))
}

/// Whether a verb failed because whoever reads its output has seen enough. A connection that broke is something else.
pub(super) fn is_reader_gone(error: &anyhow::Error) -> bool {
    unwritten_kind(error) == Some(io::ErrorKind::BrokenPipe)
}

/// Whether a verb failed because its output could not be written, for whatever reason.
pub(super) fn is_unwritten(error: &anyhow::Error) -> bool {
    unwritten_kind(error).is_some()
}

fn unwritten_kind(error: &anyhow::Error) -> Option<io::ErrorKind> {
    let of_output = |error: &&io::Error| error.get_ref().is_some_and(|inner| inner.is::<Unwritten>());
    error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>()).find(of_output).map(io::Error::kind)
}

/// A word beside the output, for people: standard error. One that nobody can read is lost.
pub(super) fn tell(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn a_reader_that_is_gone_is_no_broken_connection() {
        let gone = || -> io::Error { io::ErrorKind::BrokenPipe.into() };
        let output = Err::<(), _>(unwritten(gone())).context("the list").unwrap_err();
        assert!(is_reader_gone(&output));
        assert!(!is_reader_gone(&anyhow::Error::new(gone()).context("the site does not answer")));
        let full = anyhow::Error::new(unwritten(io::ErrorKind::StorageFull.into()));
        assert!(!is_reader_gone(&full) && is_unwritten(&full));
        assert!(!is_unwritten(&anyhow::Error::new(gone())));
        assert!(format!("{full:#}").starts_with("standard output cannot be written: "), "{full:#}");
    }
}
