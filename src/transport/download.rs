//! One file over HTTPS as a blocking reader, from an offset on: what [`crate::content`] builds trees from. Bytes are not
//! trusted here; whoever reads them knows the digest. They must keep coming: a server that trickles is given up.

use std::io::{self, Read};

use bytes::Bytes;
use tokio::{
    runtime::Handle,
    time::{Instant, timeout_at},
};

use super::{
    fault::Fault,
    pace::{DOWNLOAD, Pace},
};

/// A response's body, read from threads outside the runtime.
pub struct Download {
    runtime: Handle,
    response: reqwest::Response,
    chunk: Bytes,
    pace: Pace,
    begun: Instant,
    received_bytes: u64,
}

impl Download {
    /// Begins to fetch `url` from `offset_bytes` on. Blocks; must not be called on a thread of the runtime. The whole
    /// transfer keeps to [`DOWNLOAD`].
    ///
    /// # Errors
    /// If the server cannot be reached or does not answer with the bytes asked for.
    pub fn open(runtime: &Handle, http: &reqwest::Client, url: &str, offset_bytes: u64) -> io::Result<Self> {
        Self::open_at(runtime, http, url, offset_bytes, DOWNLOAD)
    }

    /// As [`Download::open`] at another slowest pace.
    ///
    /// # Errors
    /// As [`Download::open`].
    pub fn open_at(
        runtime: &Handle,
        http: &reqwest::Client,
        url: &str,
        offset_bytes: u64,
        pace: Pace,
    ) -> io::Result<Self> {
        let mut request = http.get(url);
        if offset_bytes > 0 {
            request = request.header(reqwest::header::RANGE, format!("bytes={offset_bytes}-"));
        }
        let begun = Instant::now();
        // Inside the block: sending begins with a timer, which only a thread within the runtime may make.
        let response = runtime
            .block_on(async { timeout_at(begun + pace.allowance(0), request.send()).await })
            .map_err(|_| too_slow())?
            .map_err(|error| io::Error::other(Fault::from(error).at(url)))?;
        let expected = if offset_bytes > 0 { reqwest::StatusCode::PARTIAL_CONTENT } else { reqwest::StatusCode::OK };
        if response.status() != expected {
            return Err(io::Error::other(Fault::of_status(response.status()).at(url)));
        }
        Ok(Self { runtime: runtime.clone(), response, chunk: Bytes::new(), pace, begun, received_bytes: 0 })
    }

    fn next_chunk(&mut self) -> io::Result<Option<Bytes>> {
        let due = self.begun + self.pace.allowance(self.received_bytes);
        let Self { runtime, response, .. } = self;
        let next = runtime.block_on(async { timeout_at(due, response.chunk()).await });
        next.map_err(|_| too_slow())?.map_err(|error| io::Error::other(Fault::from(error)))
    }
}

fn too_slow() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the bytes come too slowly; given up for now, what came is kept")
}

impl Read for Download {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() {
            match self.next_chunk()? {
                Some(chunk) => {
                    self.received_bytes += chunk.len() as u64;
                    self.chunk = chunk;
                }
                None => return Ok(0),
            }
        }
        let count = buffer.len().min(self.chunk.len());
        buffer[..count].copy_from_slice(&self.chunk.split_to(count));
        Ok(count)
    }
}
