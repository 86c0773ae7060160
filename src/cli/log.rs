//! What `waybill log` writes of a client and an advertisement: every message, how it stands, and the output of its last run and
//! of the programs that had to run before it; where there is none, why not.

use std::{collections::BTreeMap, io::Write};

use anyhow::Result;
use kube::api::DynamicObject;
use serde_json::Value;

use super::{
    messages,
    show::{cell, escaped, escaped_lines},
};
use crate::model::{
    message::{OUTPUT, PROGRAM},
    reason::Reason,
    state::RunState,
};

pub(super) fn write(
    advertisement: &str,
    id: &str,
    said_of_it: &[DynamicObject],
    row: Option<&DynamicObject>,
    out: &mut impl Write,
) -> Result<()> {
    for message in said_of_it {
        writeln!(out, "{}", messages::line(message))?;
    }
    let id = escaped(id);
    match row.map(|row| &row.data["status"]) {
        Some(status) => {
            let exit = status["exitCode"].as_i64().map_or_else(String::new, |code| format!(", exit code {code}"));
            writeln!(out, "\n{}{exit}", cell(status, "state"))?;
            match status["output"].as_str().filter(|output| !output.is_empty()) {
                Some(output) => writeln!(out, "\nOutput of the last run:\n{}", escaped_lines(output))?,
                None => writeln!(out, "{}", no_output(status))?,
            }
        }
        None if said_of_it.is_empty() => {
            writeln!(out, "{id} is no target of {}, and has said nothing about it", escaped(advertisement))?;
        }
        None => writeln!(out, "\n{id} is no target of {}, and said what stands above", escaped(advertisement))?,
    }
    for (program, output) in of_dependencies(said_of_it) {
        writeln!(out, "\nOutput of program {}, which had to run before:\n{}", escaped(program), escaped_lines(output))?;
    }
    Ok(())
}

/// The last output of each program that ran because the advertised one depends on it: such a message moves no advertisement.
fn of_dependencies(said_of_it: &[DynamicObject]) -> BTreeMap<&str, &str> {
    let told = said_of_it.iter().map(|message| &message.data["status"]).filter(|status| status["state"].is_null());
    told.filter_map(|status| {
        let attribute = |name: &str| status["attributes"][name].as_str().filter(|text| !text.is_empty());
        Some((attribute(PROGRAM)?, attribute(OUTPUT)?))
    })
    .collect()
}

/// Why there is no output of the run that the client spoke of last.
fn no_output(status: &Value) -> &'static str {
    if status["output"].is_string() {
        return "The program wrote nothing.";
    }
    let is = |reason: Reason| status["reason"] == reason.as_str();
    if is(Reason::AlreadyRan) {
        return "It ran before this offer came; `waybill agent history` on the client lists it.";
    }
    if is(Reason::DependencyFailed) {
        return "It was not started: a program that it depends on has not succeeded.";
    }
    match status["state"].as_str().and_then(RunState::parse) {
        Some(RunState::Running) => "It still runs; its output is sent when it has ended.",
        Some(RunState::Succeeded | RunState::Failed | RunState::TimedOut | RunState::PrepareFailed) => {
            "Its output was not asked for: reportOutput of the ClientAgentConfig says of which runs it is sent."
        }
        Some(RunState::Unknown) => "Nobody saw its end, and no output was kept until then or asked for (reportOutput).",
        _ => "It has not been run.",
    }
}

#[cfg(test)]
mod tests {
    use kube::api::{ApiResource, DynamicObject};
    use serde_json::json;

    use super::*;

    fn object(status: Value) -> DynamicObject {
        let resource = ApiResource::erase::<k8s_openapi::api::core::v1::ConfigMap>(&());
        let mut object = DynamicObject::new("x", &resource);
        object.data = json!({"status": status});
        object
    }

    fn written(said_of_it: &[DynamicObject], status: Value) -> String {
        let mut text = Vec::new();
        write("a", "c-1", said_of_it, Some(&object(status)), &mut text).unwrap();
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn where_there_is_no_output_it_says_why() {
        for (state, reason, output, expected) in [
            ("Running", "Progressing", json!(null), "still runs"),
            ("Succeeded", "Succeeded", json!(null), "not asked for"),
            ("Succeeded", "Succeeded", json!(""), "wrote nothing"),
            ("Succeeded", "AlreadyRan", json!(null), "before this offer came"),
            ("Failed", "ExitCode", json!("oops"), "Output of the last run:\noops"),
            ("PrepareFailed", "DependencyFailed", json!(null), "has not succeeded"),
            ("Unknown", "SupervisorLost", json!(null), "Nobody saw its end"),
            ("Waiting", "WaitingForAssignment", json!(null), "has not been run"),
        ] {
            let text = written(&[], json!({"state": state, "reason": reason, "output": output}));
            assert!(text.contains(expected), "{state} {reason}: {text}");
        }
    }

    #[test]
    fn what_a_dependency_wrote_is_shown_with_the_program_that_waits_for_it() {
        let said = |output: &str| {
            object(json!({"text": "program base failed", "attributes": {"program": "base", "output": output}}))
        };
        let own = object(json!({"state": "Failed", "attributes": {"program": "top", "output": "its own"}}));
        let text = written(
            &[said("first"), own, said("bad things")],
            json!({"state": "PrepareFailed", "reason": "DependencyFailed"}),
        );
        assert!(text.contains("Output of program base, which had to run before:\nbad things"), "{text}");
        assert!(!text.contains("first") && !text.contains("its own"), "{text}");
    }
}
