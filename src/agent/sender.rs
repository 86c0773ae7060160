//! Sends the outbox: in order, in signed batches, until the site has acknowledged each message. Never gives up a
//! message unless the site refuses that very one.

use std::{sync::Arc, time::Duration};

use super::{AgentError, link::LinkError, messages, session::SessionError, shared::Shared};
use crate::{
    clock,
    content::digest::Digest,
    model::{
        message::{Severity, StatusMessage},
        reason::Reason,
    },
    transport::backoff::Backoff,
    trust::envelope::Envelope,
    wire::status::{BATCH_MESSAGES_MAX, Outcome, RECEIPT_TYPE, Receipt, STATUS_PURPOSE, SignedBatch, StatusBatch},
};

/// Looked at this often even if nothing was announced.
const LOOK_INTERVAL: Duration = Duration::from_secs(300);
/// Messages that are made together are sent together.
const GATHER: Duration = Duration::from_millis(100);

/// What became of a batch.
enum Sent {
    /// There was nothing to send.
    Nothing,
    /// The site has this many of them.
    Stored,
    /// The site refuses the batch for what is in it.
    Refused(String),
}

/// Why a batch was not sent.
#[derive(Debug, thiserror::Error)]
enum SendError {
    #[error(transparent)]
    Agent(#[from] AgentError),
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error("the site acknowledged nothing of the batch")]
    NotAcknowledged,
    #[error("the access point gave no receipt that the site signed")]
    NoReceipt,
}

/// Sends until the task is dropped.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut backoff = Backoff::default();
    let mut limit = BATCH_MESSAGES_MAX;
    loop {
        match send(&shared, limit).await {
            Ok(Sent::Nothing) => {
                limit = BATCH_MESSAGES_MAX;
                let _ = tokio::time::timeout(LOOK_INTERVAL, shared.outbox.notified()).await;
                tokio::time::sleep(GATHER).await;
            }
            Ok(Sent::Stored) => {
                backoff.reset();
                // Grows back slowly after a refusal: the bad message may still be ahead.
                limit = (limit * 2).min(BATCH_MESSAGES_MAX);
            }
            Ok(Sent::Refused(_)) if limit > 1 => limit = half(&shared, limit),
            Ok(Sent::Refused(text)) => {
                if let Err(error) = drop_first(&shared, &text).await {
                    tracing::warn!(%error, "status messages are refused; they are kept and sent again");
                    tokio::time::sleep(backoff.next()).await;
                }
            }
            Err(SendError::Link(error)) => {
                if !error.is_turned_away() {
                    tracing::warn!(%error, "status messages were not delivered; they are kept");
                }
                shared.link.rest(&error, &mut backoff).await;
            }
            Err(error) => {
                tracing::warn!(%error, "status messages were not delivered; they are kept");
                tokio::time::sleep(backoff.next()).await;
            }
        }
    }
}

/// Half of what was sent, which may be less than the limit.
fn half(shared: &Shared, limit: usize) -> usize {
    let waiting = shared.store.outbox(limit).map_or(1, |messages| messages.len());
    (waiting / 2).max(1)
}

async fn send(shared: &Shared, limit: usize) -> Result<Sent, SendError> {
    let messages = shared.store.outbox(limit).map_err(AgentError::from)?;
    let (Some((first, _)), Some((last, _))) = (messages.first(), messages.last()) else { return Ok(Sent::Nothing) };
    let (first, last) = (*first, *last);
    match deliver(shared, messages).await? {
        Outcome::Stored { through } if through >= first => {
            shared.store.acknowledge(through.min(last)).map_err(AgentError::from)?;
            Ok(Sent::Stored)
        }
        Outcome::Stored { .. } => Err(SendError::NotAcknowledged),
        Outcome::Refused { why } => Ok(Sent::Refused(why)),
    }
}

/// Sends a batch; what became of it is believed if the site signed it, for this very batch.
async fn deliver(shared: &Shared, messages: Vec<(u64, StatusMessage)>) -> Result<Outcome, SendError> {
    let batch = signed(shared, messages)?;
    let (envelope, url) = shared.link.status(&batch).await?;
    outcome(shared, &envelope, &url, &batch.batch, "status messages").ok_or(SendError::NoReceipt)
}

/// What the site signed that became of this very text; `None` if it signed nothing of the kind: then whoever gave the
/// receipt is not believed any more.
pub(super) fn outcome(shared: &Shared, envelope: &Envelope, url: &str, text: &str, what: &str) -> Option<Outcome> {
    let session = shared.session();
    let receipt = envelope.open(RECEIPT_TYPE, &session.keys).map_err(|error| error.to_string()).and_then(|signed| {
        let receipt: Receipt = serde_json::from_str(signed).map_err(|error| error.to_string())?;
        let fits = receipt.sender == session.id && receipt.batch == Digest::of(text.as_bytes());
        if fits { Ok(receipt) } else { Err("it is the receipt of something else".to_owned()) }
    });
    match receipt {
        Ok(receipt) => Some(receipt.outcome),
        Err(why) => {
            shared.distrust(url, Reason::SignatureInvalid, &format!("its receipt for {what}: {why}"));
            None
        }
    }
}

fn signed(shared: &Shared, messages: Vec<(u64, StatusMessage)>) -> Result<SignedBatch, AgentError> {
    let session = shared.session();
    let batch = StatusBatch { sender: session.id.clone(), outbox: shared.store.outbox_id()?, messages };
    let batch = serde_json::to_string(&batch).map_err(super::store::StoreError::from)?;
    let signature = shared.key.sign(STATUS_PURPOSE, batch.as_bytes()).map_err(SessionError::from)?;
    Ok(SignedBatch { batch, signature, certificate: session.certificate_pem.clone() })
}

/// Gives up the first message, aloud, if it alone is what the site refuses: it takes an empty batch.
async fn drop_first(shared: &Shared, text: &str) -> Result<(), SendError> {
    if let Outcome::Refused { .. } = deliver(shared, Vec::new()).await? {
        return Err(SendError::NotAcknowledged);
    }
    let first = shared.store.outbox(1).map_err(AgentError::from)?;
    let Some((seq, message)) = first.first() else { return Ok(()) };
    tracing::error!(seq, refusal = text, message = %message.text, "the site refuses this message for good; it is dropped");
    // Not with the message's own text, which may be what is refused; and a refused notice makes no other notice.
    if message.state.is_some() {
        let said = format!("the site refused status message {seq} of this agent; its log shows it: {text}");
        let report = messages::general(Severity::Error, Reason::LimitExceeded, shortened(&said), clock::now());
        shared.store.say(&report).map_err(AgentError::from)?;
    }
    shared.store.acknowledge(*seq).map_err(AgentError::from)?;
    Ok(())
}

/// Short enough for any limit.
fn shortened(text: &str) -> String {
    const CHARS_MAX: usize = 300;
    text.chars().filter(|c| !c.is_control()).take(CHARS_MAX).collect()
}
