//! Keeps what clients are offered while the site is suspended, also over a restart. What that means is in
//! [`crate::plan::held`].

use std::collections::BTreeSet;

use crate::{
    db::{Database, DbError, kept},
    model::identity::ObjectName,
    plan::{grants::Granted, held::Held, offer::Compiled},
};

/// The name under which it is kept.
const TOPIC: &str = "held-offers";

/// What is known of it.
#[derive(Default)]
pub(super) enum Holding {
    /// Not looked at since the process started.
    #[default]
    Unknown,
    /// Nothing is held.
    Nothing,
    /// This is.
    Offers(Box<Held>),
}

impl Holding {
    /// The site is not suspended: what was held goes.
    pub(super) async fn release(&mut self, database: &Database) -> Result<(), DbError> {
        let kept = match self {
            Self::Nothing => false,
            Self::Offers(_) => true,
            Self::Unknown => read(database).await?.is_some(),
        };
        if kept {
            database.write(|tx| kept::put(tx, TOPIC, "")).await?;
        }
        *self = Self::Nothing;
        Ok(())
    }

    /// The site is suspended: what was offered `before`, or at the suspension, stays in place of what was compiled now.
    pub(super) async fn hold(
        &mut self,
        database: &Database,
        before: Option<&Compiled>,
        compiled: &mut Compiled,
        suspended: &BTreeSet<ObjectName>,
        granted: &Granted,
    ) -> Result<(), DbError> {
        let kept = match self {
            Self::Offers(_) | Self::Nothing => None,
            Self::Unknown => read(database).await?,
        };
        if let Some(held) = kept {
            *self = Self::Offers(Box::new(held));
        }
        let held = match self {
            Self::Offers(held) => held,
            Self::Unknown | Self::Nothing => {
                let held = Held::of(before.unwrap_or(compiled));
                let text = serde_json::to_string(&held)?;
                database.write(move |tx| kept::put(tx, TOPIC, &text)).await?;
                *self = Self::Offers(Box::new(held));
                let Self::Offers(held) = self else { return Ok(()) };
                held
            }
        };
        held.put(compiled, suspended, granted);
        Ok(())
    }
}

async fn read(database: &Database) -> Result<Option<Held>, DbError> {
    let text = database.read(|connection| kept::get(connection, TOPIC)).await?;
    Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
}
