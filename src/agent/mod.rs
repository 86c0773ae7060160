//! The client: polls for policy, fetches content, runs programs once, reports what happened.

pub mod run;
