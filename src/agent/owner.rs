//! Whose the agent's database is. A machine that was deleted at its site and joined anew is another client there: what the
//! old one was told and still had to say goes. What ran on this machine stays, so that nothing that succeeded runs again
//! because the machine got another name.

use rusqlite::{Connection, OptionalExtension as _};

use super::{
    outbox,
    store::{Store, StoreError},
};

/// The topic of the client's id.
const OWNER: &str = "client";

impl Store {
    /// Makes the database that of `client`. Gives how many messages of another client were dropped, if it was another's.
    ///
    /// # Errors
    /// [`StoreError`]; then nothing has changed.
    pub fn take_over(&self, client: &str) -> Result<Option<usize>, StoreError> {
        self.with(|connection| {
            let owner = owner(connection)?;
            if owner.as_deref() == Some(client) {
                return Ok(None);
            }
            let tx = connection.transaction()?;
            let dropped = owner.map(|_| forget(&tx)).transpose()?;
            tx.execute("INSERT OR REPLACE INTO kept VALUES (?1, ?2)", [OWNER, &serde_json::to_string(client)?])?;
            tx.commit()?;
            Ok(dropped)
        })
    }
}

/// Whose it is: as noted, or as the policy says that it holds.
fn owner(connection: &Connection) -> Result<Option<String>, StoreError> {
    let noted: Option<String> =
        connection.query_row("SELECT text FROM kept WHERE topic = ?1", [OWNER], |row| row.get(0)).optional()?;
    if let Some(noted) = noted {
        return Ok(Some(serde_json::from_str(&noted)?));
    }
    let of_policy = "SELECT json_extract(text, '$.leaf.client') FROM kept WHERE topic = 'policy'";
    Ok(connection.query_row(of_policy, (), |row| row.get(0)).optional()?.flatten())
}

fn forget(tx: &Connection) -> Result<usize, StoreError> {
    let dropped = tx.execute("DELETE FROM outbox", ())?;
    // Numbers of an outbox begin with 1.
    tx.execute("DELETE FROM sqlite_sequence WHERE name = 'outbox'", ())?;
    tx.execute("DELETE FROM standings", ())?;
    tx.execute("DELETE FROM requests", ())?;
    tx.execute("DELETE FROM kept WHERE topic IN ('policy', 'inventory', 'outbox')", ())?;
    outbox::create_id(tx)?;
    Ok(dropped)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        agent::{messages::About, outbox::Request, store::Standing},
        clock,
        model::{
            identity::{ObjectName, ProgramIdentity},
            reason::Reason,
            state::{RunOutcome, RunState},
        },
        plan::run::{Occurrence, PastRun, RunKey},
    };

    #[test]
    fn another_client_keeps_what_ran_and_nothing_of_what_was_said() {
        let scratch = tempfile::tempdir().unwrap();
        let store = Store::open(&scratch.path().join("agent.db")).unwrap();
        // A state from before the id was noted.
        store.put("policy", &json!({"leaf": {"client": "c-old"}})).unwrap();
        store.put("inventory", &"digest").unwrap();
        let advertisement = ObjectName::new("n", "a");
        let program =
            ProgramIdentity { site: "s".into(), namespace: "n".into(), package: "p".into(), program: "i".into() };
        let about = About::of(&advertisement, &program, Some(1));
        let standing = Standing { state: RunState::Succeeded, reason: Reason::Succeeded };
        let past = PastRun {
            key: RunKey { program: program.clone(), occurrence: Occurrence::Once },
            advertisement,
            started_at: clock::now(),
            outcome: Some(RunOutcome::Succeeded),
            state: RunState::Succeeded,
            exit_code: Some(0),
            source_version: 1,
            program_digest: "d".into(),
        };
        store.put_run("/runs/1", &past, &[about.report(standing, "", clock::now())]).unwrap();
        let request = Request { id: "r".into(), advertisement: "n/a".into(), user: "ann".into() };
        store.put_request(&request, clock::now()).unwrap();
        let outbox = store.outbox_id().unwrap();

        assert_eq!(store.take_over("c-old").unwrap(), None);
        assert_eq!(store.outbox(10).unwrap().len(), 1, "the same client goes on");
        assert_eq!(store.take_over("c-new").unwrap(), Some(1));
        assert_eq!(store.take_over("c-new").unwrap(), None);
        assert_eq!(store.history(&program).unwrap(), [past]);
        assert!(store.outbox(10).unwrap().is_empty() && store.requests().unwrap().is_empty());
        assert_eq!(store.standings().unwrap(), []);
        assert_eq!(store.get::<serde_json::Value>("policy").unwrap(), None);
        assert_eq!(store.get::<String>("inventory").unwrap(), None, "the site hears of the machine again");
        assert_ne!(store.outbox_id().unwrap(), outbox);
        let about =
            About::withdrawn("n/a").unwrap().state(RunState::Cancelled, Reason::OfferWithdrawn, "", clock::now());
        store.withdraw("n/a", Some(&about)).unwrap();
        assert_eq!(store.outbox(10).unwrap()[0].0, 1);
    }
}
