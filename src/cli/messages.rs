//! `waybill messages`: what every part of the site and its clients said, newest last, as a log reads.

use std::{io::Write, time::Duration};

use anyhow::{Result, bail};
use kube::{Api, Client, ResourceExt, api::DynamicObject};

use super::{
    connection::{Way, block_on, find_client, fleet, list, no_client},
    out::{Out, tell},
    show::{Output, cell, escaped},
};
use crate::{
    api::advertisement::Advertisement,
    clock,
    model::{
        duration::Span,
        message::{Component, Severity},
    },
};

/// Pause between two looks with `--follow`.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// What lets in here may end in ten minutes: it is had anew before.
const LOOKS_WITH_ONE_CLIENT: u32 = 300;

/// Show status messages
#[derive(Debug, clap::Args)]
pub(super) struct Messages<W: Way> {
    /// Only messages of this severity or worse
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
    /// At most so many, the newest
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = limit)]
    limit: usize,
    /// Go on with new messages until interrupted
    #[arg(long)]
    follow: bool,
    /// How messages are written
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
    #[command(flatten)]
    site: W,
}

/// Reads `90m`.
pub(super) fn span(text: &str) -> Result<Span, String> {
    Span::parse(text).ok_or_else(|| format!("'{text}' is no duration; write for instance 90m"))
}

/// Reads a number of messages; none at all would look as if there were none.
fn limit(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("at least 1".to_owned()),
        Ok(limit) => Ok(limit),
        Err(_) => Err("no number".to_owned()),
    }
}

impl<W: Way> Messages<W> {
    /// Runs the verb; answers the exit code.
    ///
    /// # Errors
    /// What the site says.
    pub(super) fn run(self, out: &mut Out) -> Result<u8> {
        block_on(async {
            let mut client = self.site.rows().await?;
            let about = self.full_advertisement().await?;
            let known = match &self.client {
                Some(given) => find_client::<W>(&client, given).await?,
                None => None,
            };
            let selector = self.selector(known.as_deref(), about.as_deref());
            let mut found = newest(&client, &selector, self.limit).await?;
            if let Some(since) = self.since {
                let from = clock::now().saturating_sub(since.as_duration())?;
                found.retain(|one| {
                    let arrived = one.data["status"]["receivedAt"].as_str().and_then(|text| text.parse().ok());
                    arrived.is_some_and(|arrived: jiff::Timestamp| arrived >= from)
                });
            }
            let mut last = number(found.last());
            if found.is_empty() {
                tell(&self.nothing(about.as_deref(), known.is_some()).await?);
            }
            write(&found, self.output, out)?;
            if !self.follow {
                return Ok(0);
            }
            for look in 1_u32.. {
                tokio::time::sleep(LOOK_INTERVAL).await;
                out.check_reader()?;
                if look % LOOKS_WITH_ONE_CLIENT == 0 {
                    client = self.site.rows().await?;
                }
                let mut more = newest(&client, &selector, self.limit.max(500)).await?;
                more.retain(|one| number(Some(one)) > last);
                last = last.max(number(more.last()));
                write(&more, self.output, out)?;
                out.flush()?;
            }
            Ok(0)
        })
    }

    /// Why there is nothing to show.
    async fn nothing(&self, about: Option<&str>, client_known: bool) -> Result<String> {
        if let Some(given) = self.client.as_deref().filter(|_| !client_known) {
            return Ok(format!("{}, and no message is about it", no_client::<W>(given)));
        }
        if let Some(full) = about.filter(|_| !self.follow) {
            let (namespace, name) = full.split_once('/').unwrap_or_default();
            check_advertisement(&self.site.objects().await?, namespace, name).await?;
        }
        let so_far = if self.follow { "so far; waiting for the first" } else { "so far" };
        Ok(if self.filters() {
            format!("no message matches {so_far}")
        } else {
            format!("there is no message {so_far}")
        })
    }

    fn filters(&self) -> bool {
        let Self { severity, component, client, advertisement, since, .. } = self;
        severity.is_some() || component.is_some() || client.is_some() || advertisement.is_some() || since.is_some()
    }

    async fn full_advertisement(&self) -> Result<Option<String>> {
        let Some(given) = &self.advertisement else { return Ok(None) };
        Ok(Some(if given.contains('/') { given.clone() } else { format!("{}/{given}", self.site.namespace().await?) }))
    }

    /// `known` is the id of the client that is asked for; of one that was deleted the id itself is given.
    fn selector(&self, known: Option<&str>, advertisement: Option<&str>) -> String {
        let component = self.component.as_deref().and_then(|given| {
            Component::ALL.map(Component::as_str).into_iter().find(|one| one.eq_ignore_ascii_case(given))
        });
        let equal =
            [("component", component), ("client", known.or(self.client.as_deref())), ("advertisement", advertisement)];
        let given: Vec<(&str, &str)> = equal.into_iter().filter_map(|(field, value)| Some((field, value?))).collect();
        let mut terms = vec![selector(&given)];
        match self.severity.as_deref().map(str::to_lowercase).as_deref() {
            Some("error") => terms.push(format!("status.severity={}", Severity::Error.as_str())),
            Some("warning") => terms.push(format!("status.severity!={}", Severity::Informational.as_str())),
            _ => {}
        }
        terms.retain(|term| !term.is_empty());
        terms.join(",")
    }
}

/// Refuses an advertisement that does not exist and that no message is about.
pub(super) async fn check_advertisement(client: &Client, namespace: &str, name: &str) -> Result<()> {
    let api: Api<Advertisement> = Api::namespaced(client.clone(), namespace);
    // What is no name at all is answered with a refusal, and does not exist either.
    if matches!(api.get_opt(name).await, Ok(Some(_))) {
        return Ok(());
    }
    bail!("there is no advertisement {}, and no message is about it", escaped(&format!("{namespace}/{name}")))
}

/// A field selector for messages whose members have these values, in which some letters have a meaning.
pub(super) fn selector(members: &[(&str, &str)]) -> String {
    let escaped = |text: &str| -> String {
        text.chars().flat_map(|c| if ",=\\".contains(c) { vec!['\\', c] } else { vec![c] }).collect()
    };
    let terms: Vec<String> =
        members.iter().map(|(member, value)| format!("status.{member}={}", escaped(value))).collect();
    terms.join(",")
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
    let arrived = cell(status, "receivedAt");
    // Every digit, also of a full second, so that columns stay where they are.
    let arrived = arrived.parse::<jiff::Timestamp>().map_or(arrived, |at| format!("{at:.3}"));
    escaped(&format!(
        "{arrived}  {:<13}  {}{id}  {}  {}",
        cell(status, "severity"),
        cell(status, "component"),
        if about.is_empty() { "-".to_owned() } else { about.join(" ") },
        cell(status, "text"),
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn columns_stay_where_they_are_whatever_the_time() {
        let shown = |at: &str| {
            let status = json!({"receivedAt": at, "severity": "Error", "component": "GitSync", "text": "x"});
            let message = json!({"apiVersion": "v1", "kind": "M", "metadata": {"name": "1"}, "status": status});
            line(&serde_json::from_value(message).unwrap())
        };
        let expected = "  Error          GitSync  -  x";
        assert_eq!(shown("2026-05-01T10:00:00Z"), format!("2026-05-01T10:00:00.000Z{expected}"));
        assert_eq!(shown("2026-05-01T10:00:00.12Z"), format!("2026-05-01T10:00:00.120Z{expected}"));
        assert_eq!(shown("when?"), format!("when?{expected}"));
    }

    #[test]
    fn no_message_at_all_is_no_limit() {
        assert_eq!(limit("1"), Ok(1));
        assert!(limit("0").is_err() && limit("-1").is_err() && limit("many").is_err());
    }
}
