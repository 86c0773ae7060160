//! What happens to volumes and nodes: one is full, another one is mounted, the machine loses its power, and at last it is gone for
//! good. Nothing runs twice, and no namespace hangs.

use std::path::{Path, PathBuf};

use super::{
    super::{Node, seconds},
    Site,
    site::{PATIENCE, RELEASE},
};

/// Another claim, with nothing in it.
const OTHER: &str = r#"
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: other, namespace: waybill}
spec: {accessModes: [ReadWriteOnce], storageClassName: "", resources: {requests: {storage: 1Gi}}}
"#;

/// A small disk as the volume of the site's state, which only the node sees.
fn small(node: &Node, volume: &Path) {
    let mut mount = node.command("mount");
    mount.args(["-t", "tmpfs", "-o", "size=64m", "tmpfs"]).arg(volume);
    super::super::succeed(mount).unwrap();
}

impl Site {
    #[track_caller]
    fn wait_for_readiness(&self, expected: bool) -> (String, u64, bool) {
        self.node.wait(if expected { "ready" } else { "not ready" }, PATIENCE, |_| {
            let container = self.container()?;
            if container.2 == expected { Ok(container) } else { Err(format!("{container:?}")) }
        })
    }

    /// Waits until the site's object gives this reason for its readiness.
    #[track_caller]
    fn wait_for_reason(&self, expected: &str) {
        self.node.wait(expected, PATIENCE, |_| {
            let conditions = self.get("site", "main", "")?["status"]["conditions"].clone();
            let ready = conditions.as_array().and_then(|all| all.iter().find(|one| one["type"] == "Ready"));
            if ready.is_some_and(|one| one["reason"] == expected) { Ok(()) } else { Err(conditions.to_string()) }
        });
    }

    /// Runs a script and waits until it has succeeded.
    #[track_caller]
    fn run(&self, name: &str) {
        self.offer_script(name, 0);
        self.wait_for_success(name);
    }
}

#[test]
fn volumes_and_power_that_fail_repeat_and_forget_nothing_and_a_machine_that_is_gone_holds_nothing() {
    let mut volume = PathBuf::new();
    let prepare = |node: &Node, path: &Path| {
        small(node, path);
        volume = path.to_owned();
    };
    let Some(mut site) = Site::install_on(prepare) else { return };
    site.join();
    site.run("first");

    // Full to the last byte: not ready, and left alone, for a new process would have no more room.
    let before = site.wait_for_readiness(true);
    let mut fill = site.node.command("dd");
    fill.arg("if=/dev/zero").arg(format!("of={}", volume.join("ballast").display())).arg("bs=64k");
    assert!(super::super::succeed(fill).unwrap_err().contains("No space left"));
    site.wait_for_readiness(false);
    site.offer_script("second", 0);
    site.wait_for_reason("DiskFull");
    std::thread::sleep(seconds(15));
    assert_eq!(site.container().unwrap(), (before.0.clone(), before.1, false));
    assert_eq!(site.noted(), ["first starts", "first ends"]);
    let mut empty = site.node.command("rm");
    empty.arg(volume.join("ballast"));
    super::super::succeed(empty).unwrap();
    assert_eq!(site.wait_for_readiness(true), before, "nobody started it again");
    site.wait_for_reason("Succeeded");
    site.wait_for_success("second");

    // Another volume: it refuses to act and says both ways out; with the right one it goes on.
    site.node.apply("other", OTHER);
    site.node.volume("other", RELEASE, "other");
    let own = site.get("site", "main", "").unwrap()["status"]["siteId"].as_str().unwrap().to_owned();
    assert!(site.helm("upgrade", &["--set=persistence.existingClaim=other", "--timeout=15s"]).is_err());
    site.node.wait("refused", PATIENCE, |_| {
        let status = site.get("pod", "waybill-0", RELEASE)?["status"]["containerStatuses"][0].clone();
        let of = |state: &str| status[state]["terminated"]["message"].as_str().unwrap_or_default().to_owned();
        let said = of("state") + &of("lastState");
        let is_refused = said.contains(&format!("mount the volume that holds {own}")) && said.contains("--adopt");
        if is_refused { Ok(()) } else { Err(status.to_string()) }
    });
    assert_eq!(site.get("site", "main", "").unwrap()["status"]["siteId"], own);
    site.node.helm(&["rollback", RELEASE, "--namespace", RELEASE, "--wait", "--timeout=150s"]).unwrap();
    site.wait_for_readiness(true);
    site.run("third");

    // The machine loses its power while a program runs elsewhere.
    site.offer_script("fourth", 20);
    site.wait_for_note("fourth starts");
    let before = site.wait_for_readiness(true);
    let kill = Site::killer(site.node.directory());
    site.node.restart(kill);
    site.node.wait("there again", PATIENCE, |_| {
        let now = site.container()?;
        if now.0 != before.0 && now.2 { Ok(()) } else { Err(format!("{now:?}")) }
    });
    site.wait_for_success("fourth");
    site.run("fifth");
    let starts: Vec<String> = site.noted().into_iter().filter(|line| line.ends_with("starts")).collect();
    assert_eq!(starts, ["first starts", "second starts", "third starts", "fourth starts", "fifth starts"]);
    site.nothing_was_refused();

    // The machine is gone: no pod of it ends for Kubernetes, no hook can run, and yet no namespace waits for the server.
    site.node.fall_silent();
    site.kill();
    site.node.kubectl(&["delete", "namespace", "web", "--wait=false"]).unwrap();
    let said = site.release_by_plugin(&["--timeout=10s"]).unwrap();
    for expected in ["its pod has not said that it did", "finalizers taken off 5 packages"] {
        assert!(said.contains(expected), "{expected}: {said}");
    }
    site.node.kubectl(&["wait", "--for=delete", "namespace/web", "--timeout=120s"]).unwrap();
    assert_eq!(
        site.get("pod", "waybill-0", RELEASE).unwrap()["metadata"]["name"],
        "waybill-0",
        "nobody said that it ended"
    );
}
