//! One file over HTTPS as a blocking reader, from an offset on: what [`crate::content`] builds trees from. Bytes are not
//! trusted here; whoever reads them knows the digest.

use std::io::{self, Read};

use bytes::Bytes;
use tokio::runtime::Handle;

/// A response's body, read from threads outside the runtime.
pub struct Download {
    runtime: Handle,
    response: reqwest::Response,
    chunk: Bytes,
}

impl Download {
    /// Begins to fetch `url` from `offset_bytes` on. Blocks; must not be called on a thread of the runtime.
    ///
    /// # Errors
    /// If the server cannot be reached or does not answer with the bytes asked for.
    pub fn open(runtime: &Handle, http: &reqwest::Client, url: &str, offset_bytes: u64) -> io::Result<Self> {
        let mut request = http.get(url);
        if offset_bytes > 0 {
            request = request.header(reqwest::header::RANGE, format!("bytes={offset_bytes}-"));
        }
        // Inside the block: sending begins with a timer, which only a thread within the runtime may make.
        let response = runtime.block_on(async { request.send().await }).map_err(io::Error::other)?;
        let expected = if offset_bytes > 0 { reqwest::StatusCode::PARTIAL_CONTENT } else { reqwest::StatusCode::OK };
        if response.status() != expected {
            return Err(io::Error::other(format!("{url} answered {}", response.status())));
        }
        Ok(Self { runtime: runtime.clone(), response, chunk: Bytes::new() })
    }
}

impl Read for Download {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() {
            match self.runtime.block_on(async { self.response.chunk().await }).map_err(io::Error::other)? {
                Some(chunk) => self.chunk = chunk,
                None => return Ok(0),
            }
        }
        let count = buffer.len().min(self.chunk.len());
        buffer[..count].copy_from_slice(&self.chunk.split_to(count));
        Ok(count)
    }
}
