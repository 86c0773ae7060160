//! A snapshot on its way from the site to its access points: JSON, compressed. Reading one is bounded whatever was sent,
//! for a few bytes can stand for more than there is memory.

use std::io::{self, Read};

use crate::wire::access::Snapshot;

/// The name of the encoding in HTTP.
pub const ENCODING: &str = "zstd";
/// Bytes of a decoded snapshot at most: twice what the largest fleet of one site takes (200,000 leaves of some 200 bytes, and
/// room for bodies and locations).
pub const DECODED_BYTES_MAX: u64 = 128 << 20;
/// Bytes of an encoded one at most. Leaves compress to a fifth; nothing honest comes near.
pub const ENCODED_BYTES_MAX: usize = 64 << 20;
/// Level of compression: the library's own choice between time and size.
const LEVEL: i32 = 3;
/// Largest window that is allocated for a sender, as a power of two: 8 MiB, four times what [`LEVEL`] uses.
const WINDOW_LOG_MAX: u32 = 23;

/// Why a snapshot could not be read.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// It is longer than allowed.
    #[error("it is longer than {0} bytes")]
    TooLong(u64),
    /// It is not what it says it is.
    #[error("it is damaged")]
    Damaged(#[source] io::Error),
    /// It is no snapshot.
    #[error("it is no snapshot")]
    Json(#[source] serde_json::Error),
    /// Its encoding has another name.
    #[error("its encoding '{0}' is not known here")]
    Encoding(String),
}

/// Compresses a snapshot's JSON.
///
/// # Errors
/// If there is no memory for it.
pub fn encode(json: &[u8]) -> io::Result<Vec<u8>> {
    zstd::stream::encode_all(json, LEVEL)
}

/// Reads what [`encode`] wrote, or plain JSON if `encoding` is none; at most `limit_bytes` of JSON.
///
/// # Errors
/// [`DecodeError`].
pub fn decode(body: &[u8], encoding: Option<&str>, limit_bytes: u64) -> Result<Snapshot, DecodeError> {
    let json = match encoding {
        None => body.to_vec(),
        Some(ENCODING) => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(body).map_err(DecodeError::Damaged)?;
            decoder.window_log_max(WINDOW_LOG_MAX).map_err(DecodeError::Damaged)?;
            let mut json = Vec::new();
            decoder.take(limit_bytes.saturating_add(1)).read_to_end(&mut json).map_err(DecodeError::Damaged)?;
            json
        }
        Some(other) => return Err(DecodeError::Encoding(other.chars().take(40).collect())),
    };
    if json.len() as u64 > limit_bytes {
        return Err(DecodeError::TooLong(limit_bytes));
    }
    serde_json::from_slice(&json).map_err(DecodeError::Json)
}
