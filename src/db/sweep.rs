//! Regular forgetting: what is past its time goes, in steps small enough that no acknowledgement waits for them. Called
//! by the site at an interval. Records are not swept here: only the site knows which ones published policy names.

use super::{Database, DbError, devices, jobs, locations, messages, tokens};

const DAY_MS: i64 = 86_400_000;
/// An expired token is known so long, so that a late comer is told what is wrong.
const TOKENS_MS: i64 = DAY_MS;
/// A deleted device is known as such until its certificate ended, and so much longer, whatever the clocks say.
const DEVICES_MS: i64 = DAY_MS;
/// Finished jobs, and removals that were confirmed or given up, are listed so long.
const HISTORY_MS: i64 = 30 * DAY_MS;

/// What a sweep deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Status messages.
    pub messages: usize,
    /// Everything else.
    pub others: usize,
}

/// Deletes messages older than `message_retention_ms`, and tokens, deleted devices, finished jobs and settled removals
/// past their time. Other writes go in between.
///
/// # Errors
/// If the database cannot be written; what was deleted before stays deleted.
pub async fn sweep(database: &Database, now_ms: i64, message_retention_ms: i64) -> Result<Swept, DbError> {
    let mut swept = Swept::default();
    loop {
        let step = database.write(move |tx| messages::expire(tx, now_ms - message_retention_ms)).await?;
        swept.messages += step;
        if step < messages::RETENTION_STEP {
            break;
        }
    }
    swept.others = database
        .write(move |tx| {
            Ok(tokens::forget_expired(tx, now_ms - TOKENS_MS)?
                + devices::forget_gone(tx, now_ms - DEVICES_MS)?
                + jobs::forget_finished(tx, now_ms - HISTORY_MS)?
                + locations::forget_settled(tx, now_ms - HISTORY_MS)?)
        })
        .await?;
    Ok(swept)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        db::fixtures::{NOW, device, message, sender},
        model::state::RunState,
        trust::identity::Role,
    };

    #[tokio::test]
    async fn what_is_past_its_time_goes_in_steps() {
        let directory = tempfile::tempdir().unwrap();
        let now = jiff::Timestamp::from_millisecond(NOW).unwrap();
        let database = Database::open(&directory.path().join("site.db"), now).unwrap();
        let many = messages::RETENTION_STEP as u64 + 500;
        database
            .write(move |tx| {
                devices::join(tx, &device("c1", Role::Client, "c1"))?;
                for first in (1..=many).step_by(500) {
                    let batch: Vec<_> =
                        (first..first + 500).map(|seq| (seq, message("editor", RunState::Waiting))).collect();
                    messages::store_batch(tx, &sender("c1"), "o", &batch, NOW)?;
                }
                devices::delete(tx, "c1", NOW)
            })
            .await
            .unwrap();
        assert_eq!(sweep(&database, NOW + DAY_MS, DAY_MS).await.unwrap(), Swept::default());
        let all = Swept { messages: messages::RETENTION_STEP + 500, others: 0 };
        assert_eq!(sweep(&database, NOW + DAY_MS + 1, DAY_MS).await.unwrap(), all);
        assert_eq!(sweep(&database, NOW + 32 * DAY_MS, DAY_MS).await.unwrap(), Swept { messages: 0, others: 1 });
    }
}
