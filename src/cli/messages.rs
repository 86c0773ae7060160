//! `waybill messages`: what every part of the site and its clients said, newest last, as a log reads.

use std::{collections::BTreeMap, io::Write, time::Duration};

use anyhow::Result;
use kube::{Client, ResourceExt, api::DynamicObject};

use super::{
    connection::{Site, block_on, client_id, fleet, list},
    show::{Output, cell, escaped},
};
use crate::{
    clock,
    model::{
        duration::Span,
        message::{Component, Severity},
    },
};

/// Pause between two looks with `--follow`.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Show status messages
#[derive(Debug, clap::Args)]
pub(super) struct Messages {
    /// Only messages so bad or worse
    #[arg(long, value_name = "SEVERITY", value_parser = ["informational", "warning", "error"], ignore_case = true)]
    severity: Option<String>,
    /// Only this component, as ClientAgent
    #[arg(long, value_name = "NAME", value_parser = Component::ALL.map(Component::as_str), ignore_case = true)]
    component: Option<String>,
    /// Only about this client, by id or host name
    #[arg(long, value_name = "CLIENT")]
    client: Option<String>,
    /// Only about this advertisement, as NAME or NAMESPACE/NAME
    #[arg(long, value_name = "NAME")]
    advertisement: Option<String>,
    /// Only messages that arrived within this time, as 2h
    #[arg(long, value_name = "SPAN", value_parser = span)]
    since: Option<Span>,
    /// The newest so many
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
    /// Go on with new messages until interrupted
    #[arg(long)]
    follow: bool,
    /// How messages are written
    #[arg(long, value_enum, default_value_t)]
    output: Output,
    #[command(flatten)]
    site: Site,
}

fn span(text: &str) -> Result<Span, String> {
    Span::parse(text).ok_or_else(|| format!("'{text}' is no duration; write for instance 90m"))
}

impl Messages {
    /// Runs the verb; answers the exit code.
    ///
    /// # Errors
    /// What the site says.
    pub(super) fn run(self, out: &mut impl Write) -> Result<u8> {
        block_on(async {
            let client = self.site.client().await?;
            let selector = self.selector(&client).await?;
            let mut found = newest(&client, &selector, self.limit).await?;
            if let Some(since) = self.since {
                let from = clock::now().saturating_sub(since.as_duration())?;
                found.retain(|one| {
                    let arrived = one.data["status"]["receivedAt"].as_str().and_then(|text| text.parse().ok());
                    arrived.is_some_and(|arrived: jiff::Timestamp| arrived >= from)
                });
            }
            let mut last = number(found.last());
            write(&found, self.output, out)?;
            if !self.follow {
                return Ok(0);
            }
            loop {
                tokio::time::sleep(LOOK_INTERVAL).await;
                let mut more = newest(&client, &selector, self.limit.max(500)).await?;
                more.retain(|one| number(Some(one)) > last);
                last = last.max(number(more.last()));
                write(&more, self.output, out)?;
                out.flush()?;
            }
        })
    }

    async fn selector(&self, client: &Client) -> Result<String> {
        let mut terms = BTreeMap::new();
        if let Some(component) = &self.component {
            let known =
                Component::ALL.map(Component::as_str).into_iter().find(|one| one.eq_ignore_ascii_case(component));
            terms.insert("component=", known.unwrap_or_default().to_owned());
        }
        if let Some(given) = &self.client {
            terms.insert("client=", client_id(client, given).await?);
        }
        if let Some(advertisement) = &self.advertisement {
            let full =
                if advertisement.contains('/') { advertisement.clone() } else { format!("default/{advertisement}") };
            terms.insert("advertisement=", full);
        }
        match self.severity.as_deref().map(str::to_lowercase).as_deref() {
            Some("error") => terms.insert("severity=", Severity::Error.as_str().to_owned()),
            Some("warning") => terms.insert("severity!=", Severity::Informational.as_str().to_owned()),
            _ => None,
        };
        let terms: Vec<String> = terms.iter().map(|(term, value)| format!("status.{term}{value}")).collect();
        Ok(terms.join(","))
    }
}

/// The newest messages, oldest of them first.
pub(super) async fn newest(client: &Client, selector: &str, limit: usize) -> Result<Vec<DynamicObject>> {
    let mut found = list(&fleet(client, "StatusMessage", None), selector, limit).await?;
    found.reverse();
    Ok(found)
}

fn number(message: Option<&DynamicObject>) -> i64 {
    message.and_then(|one| one.name_any().parse().ok()).unwrap_or(0)
}

fn write(messages: &[DynamicObject], output: Output, out: &mut impl Write) -> Result<()> {
    for message in messages {
        match output {
            Output::Table => writeln!(out, "{}", line(message))?,
            Output::Json => writeln!(out, "{}", serde_json::to_string(message)?)?,
        }
    }
    Ok(())
}

/// One message in one line.
pub(super) fn line(message: &DynamicObject) -> String {
    let status = &message.data["status"];
    let about = ["client", "advertisement", "package"].map(|member| cell(status, member));
    let about: Vec<String> = about.into_iter().filter(|text| !text.is_empty()).collect();
    let id = status["messageID"].as_i64().map_or_else(String::new, |id| format!(" {id}"));
    escaped(&format!(
        "{}  {:<13}  {}{id}  {}  {}",
        cell(status, "receivedAt"),
        cell(status, "severity"),
        cell(status, "component"),
        if about.is_empty() { "-".to_owned() } else { about.join(" ") },
        cell(status, "text"),
    ))
}
