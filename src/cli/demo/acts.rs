//! The story: who appears, what is committed, what has to become true after it, and by when.

use std::{fs::OpenOptions, io::Write, os::unix::fs::OpenOptionsExt, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use tokio::time::{Instant, sleep};

use super::{
    fleet::{self, OTHERS, PACKAGES, PILOTS, POINTS},
    observe::{Observer, View},
    processes::Processes,
    progress::Progress,
    scratch::Scratch,
    tables,
};
use crate::{cli::out::Out, site::Endpoints};

/// From its start to its first answer, a site takes a second; a machine under load some more.
const SITE_LIMIT: Duration = Duration::from_secs(30);
/// Two points and five clients join.
const JOIN_LIMIT: Duration = Duration::from_secs(45);
/// Between two looks.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);
/// Between two looks at whether all processes still run, once everything is done.
const IDLE_INTERVAL: Duration = Duration::from_secs(1);
/// Clients of the demo.
const CLIENTS: u64 = (PILOTS.len() + OTHERS.len()) as u64;
/// Copies once every point holds every package.
const COPIES: u64 = (PACKAGES.len() * POINTS.len()) as u64;
/// What belongs to the package that is removed.
const NOTICE: [&str; 4] = ["Package notice", "Program notice-install", "Distribution notice", "Advertisement notice"];

/// Something that has to become true, as a count.
struct Goal {
    label: &'static str,
    total: u64,
    done: fn(&View, &Observer) -> u64,
}

/// Plays everything. Within `act_limit` one commit has to reach every client.
///
/// # Errors
/// What did not happen in time, or the process that ended.
pub(super) async fn play(
    scratch: &Scratch,
    processes: &mut Processes,
    out: &mut Out,
    once: bool,
    act_limit: Duration,
) -> Result<()> {
    let started = Instant::now();
    out.say(
        "A site serves the branch main of a new git repository; another distribution point, another client access point\n\
         and five clients join it, each a process of its own.",
    )?;
    scratch.write(&fleet::first(scratch.root()))?;
    scratch.commit("Runtime and greeter for the pilot ring, a notice for the front desk")?;
    start_site(scratch, processes).await?;
    let observer = Observer::connect(scratch).await?;
    join(scratch, processes).await?;
    let mut stage = Stage { observer, processes, out, act: 0, act_limit };
    let joined = [
        Goal {
            label: "clients joined",
            total: CLIENTS,
            done: |view, _| view.site.clients.unwrap_or(0).cast_unsigned(),
        },
        Goal { label: "distribution points ready", total: POINTS.len() as u64, done: |view, _| view.points },
    ];
    stage.until("everybody to join", JOIN_LIMIT, &joined).await?;
    arrive(scratch, &mut stage).await?;
    change(scratch, &mut stage).await?;
    remove(scratch, &mut stage).await?;
    check(&stage.observer.look().await?)?;
    tables::show(&stage.observer, stage.out).await?;
    stage.out.say(&format!("\nEvery client is as declared, after {} s.", started.elapsed().as_secs()))?;
    if once {
        return Ok(());
    }
    look_further(scratch, stage.out)?;
    loop {
        stage.processes.check()?;
        stage.out.check_reader()?;
        sleep(IDLE_INTERVAL).await;
    }
}

async fn start_site(scratch: &Scratch, processes: &mut Processes) -> Result<()> {
    let (repository, state) = (text(scratch, "repository"), text(scratch, "site"));
    let words = ["up", &repository, "--branch", "main", "--state", &state, "--listen", "127.0.0.1:0"];
    processes.start("site", &words)?;
    let end = Instant::now() + SITE_LIMIT;
    while !scratch.path("site").join(Endpoints::FILE).exists() {
        processes.check()?;
        ensure!(Instant::now() < end, "the site did not start within {} s", SITE_LIMIT.as_secs());
        sleep(LOOK_INTERVAL).await;
    }
    Ok(())
}

/// Join files are made by the site; the points' and clients' processes take them as files.
async fn join(scratch: &Scratch, processes: &mut Processes) -> Result<()> {
    let dp = join_file(scratch, processes, "branch-dp", &["--role", "dp", "--name", POINTS[1]]).await?;
    let state = text(scratch, "branch-dp");
    processes.start("branch-dp", &["dp", "--join", &dp, "--state", &state, "--listen", "127.0.0.1:0"])?;
    let cap = join_file(scratch, processes, "branch-cap", &["--role", "cap", "--name", POINTS[1]]).await?;
    let state = text(scratch, "branch-cap");
    processes.start("branch-cap", &["cap", "--join", &cap, "--state", &state, "--listen", "127.0.0.1:0"])?;
    for (ring, clients) in [("pilot", &PILOTS[..]), ("broad", &OTHERS[..])] {
        let (label, uses) = (format!("ring={ring}"), clients.len().to_string());
        let words = ["--role", "client", "--uses", &uses, "--label", &label];
        let join = join_file(scratch, processes, ring, &words).await?;
        for client in clients {
            scratch.make_machine(client)?;
            let state = text(scratch, &format!("clients/{client}"));
            processes.start(client, &["agent", "run", "--join", &join, "--state", &state])?;
        }
    }
    Ok(())
}

async fn join_file(scratch: &Scratch, processes: &Processes, name: &str, words: &[&str]) -> Result<String> {
    let state = text(scratch, "site");
    let made = processes.run(&[&["token", "create", "--state", &state], words].concat()).await?;
    let path = scratch.path("join").join(format!("{name}.json"));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
    file.write_all(&made)?;
    Ok(path.display().to_string())
}

/// Act one: software arrives, first for few, then for all.
async fn arrive(scratch: &Scratch, stage: &mut Stage<'_>) -> Result<()> {
    stage.out.say("\nAct one: two packages and a notice are declared; the pilot ring installs them.")?;
    let goals = [
        Goal { label: "copies on distribution points", total: COPIES, done: |view, _| view.copies() },
        Goal { label: "pilots that installed the greeter", total: 2, done: |view, _| view.succeeded("greeter") },
        Goal { label: "pilots with the notice", total: 2, done: |view, _| view.succeeded("notice") },
    ];
    stage.act = 1;
    stage.until("the pilot ring to install everything", stage.act_limit, &goals).await?;
    scratch.write(&fleet::widened())?;
    let commit = scratch.commit("The greeter for everybody")?;
    stage.out.say(&format!("Commit {commit}: the greeter is advertised to everybody."))?;
    let goals = [
        Goal { label: "machines with the greeter", total: CLIENTS, done: |view, _| view.machines_with("greeter 1") },
        Goal { label: "clients that reported it", total: CLIENTS, done: |view, _| view.succeeded("greeter") },
    ];
    stage.act = 2;
    stage.until("everybody to install the greeter", stage.act_limit, &goals).await
}

/// Act two: a new version, and a collection that grows.
async fn change(scratch: &Scratch, stage: &mut Stage<'_>) -> Result<()> {
    stage.out.say("\nAct two: the greeter gets a new version, and the front desk more clients.")?;
    scratch.write(&fleet::changed())?;
    let commit = scratch.commit("Greeter 2; everybody is front desk")?;
    stage.out.say(&format!("Commit {commit}: packages/greeter and the collection's query changed."))?;
    let goals = [
        Goal { label: "copies on distribution points", total: COPIES, done: |view, _| view.copies() },
        Goal { label: "machines with greeter 2", total: CLIENTS, done: |view, _| view.machines_with("greeter 2") },
        Goal { label: "machines with the notice", total: CLIENTS, done: |view, _| view.machines_with("notice 1") },
        Goal { label: "greeter succeeded", total: CLIENTS, done: |view, _| view.succeeded("greeter") },
        Goal { label: "notice succeeded", total: CLIENTS, done: |view, _| view.succeeded("notice") },
    ];
    stage.act = 3;
    stage.until("the new version and the notice to reach everybody", stage.act_limit, &goals).await
}

/// Act three: a package goes, with all that belongs to it.
async fn remove(scratch: &Scratch, stage: &mut Stage<'_>) -> Result<()> {
    stage
        .out
        .say("\nAct three: the notice is removed, package, program, distribution and advertisement in one commit.")?;
    for gone in fleet::REMOVED {
        scratch.take_out(gone)?;
    }
    let commit = scratch.commit("No more notice")?;
    stage.out.say(&format!("Commit {commit}: its files are gone."))?;
    let goals = [
        Goal {
            label: "objects removed",
            total: NOTICE.len() as u64,
            done: |view, _| NOTICE.iter().map(|object| view.gone(object)).sum(),
        },
        Goal {
            label: "distribution points cleared",
            total: POINTS.len() as u64,
            done: |_, observer| observer.drives_without("notice"),
        },
    ];
    stage.until("the notice to be removed everywhere", stage.act_limit, &goals).await
}

/// The clients that did not get where an act leads, each with what it lacks.
fn late(view: &View, act: u8) -> String {
    let mut text = String::new();
    for (client, installed) in &view.installed {
        let mut lacks = fleet::expected(client, act);
        lacks.retain(|line| !installed.contains(line));
        if act > 0 && !lacks.is_empty() {
            text.push_str(&format!("; {client} has not run: {}", lacks.join(", ")));
        }
    }
    text
}

/// Whether each machine ran exactly what was declared, each once.
fn check(view: &View) -> Result<()> {
    for (client, installed) in &view.installed {
        let expected = fleet::expected(client, 3);
        if *installed != expected {
            bail!("{client} should have run {expected:?}, each once, and ran {installed:?}");
        }
    }
    Ok(())
}

/// Eyes and processes.
struct Stage<'a> {
    observer: Observer,
    processes: &'a mut Processes,
    out: &'a mut Out,
    /// The act that is played; 0 before the first.
    act: u8,
    act_limit: Duration,
}

impl Stage<'_> {
    /// Looks until every goal is reached.
    async fn until(&mut self, what: &str, limit: Duration, goals: &[Goal]) -> Result<()> {
        let labels: Vec<_> = goals.iter().map(|goal| (goal.label, goal.total)).collect();
        let mut progress = Progress::new(&labels);
        let end = Instant::now() + limit;
        loop {
            self.processes.check()?;
            self.out.check_reader()?;
            let view = self.observer.look().await.context("the site's Kubernetes API does not answer")?;
            let done: Vec<u64> = goals.iter().map(|goal| (goal.done)(&view, &self.observer).min(goal.total)).collect();
            for (index, (goal, done)) in goals.iter().zip(&done).enumerate() {
                progress.set(self.out, index, goal.label, *done, goal.total)?;
            }
            let missing = goals.iter().zip(&done).filter(|(goal, done)| **done < goal.total);
            let missing: Vec<String> =
                missing.map(|(goal, done)| format!("{} {done}/{}", goal.label, goal.total)).collect();
            if missing.is_empty() {
                progress.finish();
                return Ok(());
            }
            if Instant::now() >= end {
                progress.finish();
                let late = late(&view, self.act);
                bail!("waited {} s for {what}; not reached: {}{late}", limit.as_secs(), missing.join(", "));
            }
            sleep(LOOK_INTERVAL).await;
        }
    }
}

fn look_further(scratch: &Scratch, out: &mut Out) -> Result<()> {
    let (kubeconfig, state) = (text(scratch, "site/kubeconfig"), text(scratch, "site"));
    out.say("\nLook further, from another terminal:")?;
    out.say(&format!(
        "  kubectl --kubeconfig {kubeconfig} get packages,programs,distributions,collections,advertisements"
    ))?;
    out.say(&format!("  kubectl --kubeconfig {kubeconfig} get clients,clientstatuses,contentlocations"))?;
    out.say(&format!("  waybill status --state {state}"))?;
    out.say(&format!("  waybill messages --state {state}"))?;
    out.say(&format!("  git -C {} log --stat        (commit something, and watch)", text(scratch, "repository")))?;
    out.say(&format!("  ls {}        (what was installed)", text(scratch, "machines/kiosk-1")))?;
    out.say(&format!("  ls {}        (what every process logged)", text(scratch, "logs")))?;
    Ok(out.say("\nCtrl-C ends everything.")?)
}

fn text(scratch: &Scratch, below: &str) -> String {
    scratch.path(below).display().to_string()
}
