//! Tells the site what is here: at once when something changed, several changes together when they come fast, and as a
//! sign of life. Messages leave the outbox only when the site has stored them. That the outbox itself cannot be written is
//! told past it.

use std::{sync::Arc, time::Duration};

use super::{engine::Shared, messages, store::StoreError};
use crate::{
    model::{causes::chain, message::StatusMessage},
    wire::{
        points::PointReport,
        status::{BATCH_BYTES_MAX, BATCH_MESSAGES_MAX},
    },
};

/// Reports that follow each other are so far apart: changes of one moment travel together.
const COALESCE: Duration = Duration::from_millis(50);
/// Without a change the site hears this often that the point lives.
const HEARTBEAT: Duration = Duration::from_secs(60);
/// Pause after a report that failed, doubled up to the longest.
const RETRY_FIRST: Duration = Duration::from_millis(500);
/// Longest pause: the site knows within half a minute of being back.
const RETRY_MAX: Duration = Duration::from_secs(30);

/// What is told past the outbox: one message at a time, numbered on from what the site has, so that it counts once whatever
/// becomes of an answer or of this process.
#[derive(Default)]
struct Aloud {
    message: Option<StatusMessage>,
    next: Option<u64>,
}

/// Reports until the task is dropped.
pub(super) async fn run(shared: &Arc<Shared>) {
    let mut pause = RETRY_FIRST;
    let mut aloud = Aloud::default();
    loop {
        match send(shared, &mut aloud).await {
            Ok(true) => pause = RETRY_FIRST,
            Ok(false) => {
                pause = RETRY_FIRST;
                // The timeout is the heartbeat.
                let _ = tokio::time::timeout(HEARTBEAT, shared.changed.notified()).await;
                continue;
            }
            Err(why) => {
                tracing::warn!(%why, "the site did not take the report; it is kept");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(RETRY_MAX);
                continue;
            }
        }
        tokio::time::sleep(COALESCE).await;
    }
}

/// Sends one report. `true` if there is more to send.
async fn send(shared: &Arc<Shared>, aloud: &mut Aloud) -> Result<bool, String> {
    if let Some(failure) = shared.store.take_failure() {
        aloud.message = Some(messages::database_failed(&shared.name, &failure));
    }
    if let Some(message) = &aloud.message {
        let message = message.clone();
        return say_aloud(shared, aloud, message).await.map(|()| true);
    }
    let report = build(shared).map_err(|error| chain(&error))?;
    let sent_through = report.messages.last().map(|(seq, _)| *seq);
    let ack = shared.site.report(report).await.map_err(|error| chain(&error))?;
    tokio::time::sleep(COALESCE).await;
    if ack.outbox != shared.store.outbox_id() {
        return Err("the site acknowledged another outbox".to_owned());
    }
    shared.store.acknowledge(ack.acked_through).map_err(|error| chain(&error))?;
    match sent_through {
        Some(through) if ack.acked_through < through => {
            Err(format!("the site has stored messages up to {} of {through} only", ack.acked_through))
        }
        Some(_) => Ok(!shared.store.outbox(1, usize::MAX).map_err(|error| chain(&error))?.is_empty()),
        None => Ok(false),
    }
}

/// First asks the site for the number that it has, then sends the message under the next one.
async fn say_aloud(shared: &Arc<Shared>, aloud: &mut Aloud, message: StatusMessage) -> Result<(), String> {
    let messages = aloud.next.map(|number| (number, message)).into_iter().collect();
    let report = build(shared).map_err(|error| chain(&error))?;
    let report = PointReport { outbox: shared.store.aloud_id(), messages, ..report };
    let ack = shared.site.report(report).await.map_err(|error| chain(&error))?;
    if aloud.next.is_some_and(|number| ack.acked_through >= number) {
        aloud.message = None;
    }
    aloud.next = Some(ack.acked_through + 1);
    Ok(())
}

fn build(shared: &Shared) -> Result<PointReport, StoreError> {
    let messages = shared.store.outbox(BATCH_MESSAGES_MAX, BATCH_BYTES_MAX)?;
    let catalog = shared.catalog();
    Ok(PointReport {
        assignment: catalog.assignment.as_ref().map(|assignment| assignment.version.clone()).unwrap_or_default(),
        url: shared.url.clone(),
        drives: shared.drives.reports(),
        versions: catalog.reports(),
        messages,
        outbox: shared.store.outbox_id().to_owned(),
    })
}
