//! What a program gets from the agent and what becomes of what it writes.

use waybill::{model::state::RunState, wire::policy::ReportOutput};

use super::{
    machine::Machine,
    shell,
    site::{Site, assigned, program, record},
};
use crate::run::full_disk::inside;

/// A namespace in which whoever runs the tests is not root.
const AS_NOBODY_SPECIAL: &[&str] = &["--user", "--map-user=1000", "--map-group=1000"];

/// Writes what the program may not be sure of: its environment, its input, whether it may write where it stands.
const CURIOUS: &str = "#!/bin/sh
env | cut -d= -f1 | sort | tr '\\n' ' '
wc -c
touch here 2>/dev/null && echo wrote here
mkdir data/there 2>/dev/null && echo wrote there
(echo more >> data/file) 2>/dev/null && echo wrote a file
cat data/file
exit 3
";

#[test]
fn a_program_has_a_clean_environment_no_input_and_a_directory_it_cannot_write() {
    // Root may write anywhere, whatever the directory says.
    if !inside(
        "agent::output::a_program_has_a_clean_environment_no_input_and_a_directory_it_cannot_write",
        AS_NOBODY_SPECIAL,
    ) {
        return;
    }
    let mut site = Site::start();
    let machine = Machine::of(&site);
    let content = site.publish(&[("curious.sh", CURIOUS), ("data/file", "as published\n")], &[""]);
    let record = site.record(&record(Some(content), vec![program("curious", &["curious.sh"])]));
    site.offer(&[assigned("all", "curious", record)]);
    machine.eventually("the run", || site.states("all").contains(&RunState::Failed).then_some(()));
    let messages = site.messages();
    let failed = messages.iter().find(|message| message.state == Some(RunState::Failed)).unwrap();
    let known = "HOME LANG PATH PWD WAYBILL_CONTENT WAYBILL_PACKAGE WAYBILL_PROGRAM WAYBILL_SOURCE_VERSION";
    let output = &failed.attributes["output"];
    let (names, rest) = output.split_once(" 0\n").unwrap_or_else(|| panic!("there was input: {output}"));
    let names: Vec<&str> = names.split(' ').filter(|name| !["_", "OLDPWD", "SHLVL"].contains(name)).collect();
    assert_eq!(names.join(" "), known);
    assert_eq!(rest, "as published\n");
}

#[test]
fn output_is_sent_as_the_site_says_and_escaped() {
    let talks = |code: u8| format!("printf 'first\\033[2Jlast\\n'; exit {code}");
    for (report, sent) in [
        (ReportOutput::OnFailure, [false, true]),
        (ReportOutput::Always, [true, true]),
        (ReportOutput::Never, [false, false]),
    ] {
        let mut site = Site::start();
        if report != ReportOutput::OnFailure {
            site.config.report_output = report;
        }
        let machine = Machine::of(&site);
        let record = site.record(&record(None, vec![shell("good", &talks(0)), shell("bad", &talks(1))]));
        site.offer(&[assigned("good", "good", record), assigned("bad", "bad", record)]);
        let ends = [RunState::Succeeded, RunState::Failed];
        for (name, end) in ["good", "bad"].iter().zip(ends) {
            machine.eventually(name, || site.states(name).contains(&end).then_some(()));
        }
        let messages = site.messages();
        let outputs = ends.map(|end| {
            let message = messages.iter().find(|message| message.state == Some(end)).unwrap();
            message.attributes.get("output").cloned()
        });
        let expected = sent.map(|sent| sent.then(|| "first\\x1b[2Jlast\n".to_owned()));
        assert_eq!(outputs, expected, "{report:?}");
    }
}
