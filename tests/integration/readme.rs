//! The README's commands, run as they stand: every `sh` block in order, in one scratch directory. Of its info string,
//! `terminal` is started and left running, `eventually` is repeated until it succeeds, `untested` is left out.

use std::{
    env, fs,
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::require;

/// Longest wait for a block that succeeds eventually.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(500);

#[derive(Debug, PartialEq, Eq)]
struct Block {
    how: String,
    script: String,
}

/// The `sh` blocks of a text.
fn blocks(text: &str) -> Vec<Block> {
    let mut found = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some(info) = line.strip_prefix("```") else { continue };
        let inside: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        let mut words = info.split_whitespace();
        if words.next() == Some("sh") {
            found.push(Block { how: words.next().unwrap_or_default().to_owned(), script: inside.join("\n") });
        }
    }
    found
}

/// Ends what was started, last first.
struct Terminals(Vec<Child>);

impl Drop for Terminals {
    fn drop(&mut self) {
        while let Some(mut child) = self.0.pop() {
            if let Some(group) = Pid::from_raw(child.id().cast_signed()) {
                let _ = kill_process_group(group, Signal::TERM);
            }
            let _ = child.wait();
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the scripts find the built program first, as a user would arrange it")]
pub(crate) fn shell(script: &str, directory: &Path) -> Command {
    let built = Path::new(env!("CARGO_BIN_EXE_waybill")).parent().unwrap();
    let path = env::var_os("PATH").unwrap_or_default();
    let path = env::join_paths([built.to_owned()].into_iter().chain(env::split_paths(&path))).unwrap();
    // Another site may be running here: any free ports do.
    let script = script.replace("waybill up ./fleet", "waybill up ./fleet --listen 127.0.0.1:0");
    let mut command = Command::new("/bin/sh");
    command.args(["-euc", &script]).current_dir(directory).env("PATH", path).env_remove("KUBECONFIG");
    command
}

fn run(script: &str, directory: &Path) -> Output {
    shell(script, directory).stdin(Stdio::null()).output().unwrap()
}

#[test]
fn every_command_of_the_readme_works() {
    if require::program("kubectl").is_none() {
        return;
    }
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let mut terminals = Terminals(Vec::new());
    let said = |output: &Output| {
        let logs = (0..).map(|n| scratch.path().join(format!("terminal-{n}.log"))).take_while(|path| path.exists());
        let logs: Vec<String> = logs.map(|path| fs::read_to_string(path).unwrap()).collect();
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        format!("{out}{err}\nterminals:\n{}", logs.join("\n----\n"))
    };
    for Block { how, script } in blocks(&text) {
        match how.as_str() {
            "untested" => {}
            "terminal" => {
                let log = scratch.path().join(format!("terminal-{}.log", terminals.0.len()));
                let log = fs::File::create(log).unwrap();
                let mut command = shell(&format!("exec {script}"), scratch.path());
                command.process_group(0).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
                terminals.0.push(command.spawn().unwrap());
            }
            "eventually" => {
                let end = Instant::now() + PATIENCE;
                loop {
                    let output = run(&script, scratch.path());
                    if output.status.success() {
                        break;
                    }
                    assert!(Instant::now() < end, "{script}\ndid not succeed in time: {}", said(&output));
                    thread::sleep(PAUSE);
                }
            }
            "" => {
                let output = run(&script, scratch.path());
                assert!(output.status.success(), "{script}\nfailed: {}", said(&output));
            }
            other => panic!("nobody knows how to run a block marked {other}"),
        }
    }
    assert!(terminals.0.len() >= 4, "blocks went missing");
    drop(terminals);
    crate::world::unseal(scratch.path());
}

#[test]
fn blocks_are_found_with_their_marks() {
    let text = "a\n```sh\nb\nc\n```\n```yaml\nd\n```\n```sh terminal\ne\n```\n";
    let block = |how: &str, script: &str| Block { how: how.into(), script: script.into() };
    assert_eq!(blocks(text), [block("", "b\nc"), block("terminal", "e")]);
}
