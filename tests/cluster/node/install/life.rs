//! Upgrades: to a good image, to one that never gets ready, and back, without touching a pod.

use super::{
    super::{images, seconds},
    Site, image,
    site::{PATIENCE, RELEASE},
};

impl Site {
    /// The image that the site's pod runs, once that is ready.
    #[track_caller]
    fn wait_for_image(&self, tag: &str) {
        self.node.wait(tag, PATIENCE, |_| {
            let pod = self.get("pod", "waybill-0", RELEASE)?;
            let status = &pod["status"]["containerStatuses"][0];
            // Not what the status calls it: of two names of one image it shows either.
            let image = &pod["spec"]["containers"][0]["image"];
            let is_there = status["ready"] == true && *image == format!("localhost/waybill:{tag}");
            if is_there { Ok(()) } else { Err(format!("{image}: {status}")) }
        });
    }
}

#[test]
fn an_image_that_never_gets_ready_is_rolled_back_without_touching_a_pod() {
    let Some(mut site) = Site::install() else { return };
    let node = &site.node;
    // The same program under another name, and one that waits for ever instead of serving.
    let tag = |name: &str| {
        let mut ctr = node.command("ctr");
        ctr.arg("--address").arg(node.directory().join("containerd.sock")).args([
            "--namespace=k8s.io",
            "images",
            "tag",
        ]);
        ctr.args([&format!("localhost/waybill:{}", env!("CARGO_PKG_VERSION")), name]);
        super::super::succeed(ctr).unwrap();
    };
    tag("localhost/waybill:next");
    let broken = images::pack(&node.directory().join("pause"), node.directory(), "localhost/waybill:broken").unwrap();
    node.import(&broken).unwrap();
    assert!(image().exists());
    site.join();
    site.offer_script("first", 0);
    site.wait_for_success("first");

    site.helm("upgrade", &["--set=image.tag=next"]).unwrap();
    site.wait_for_image("next");
    site.offer_script("second", 0);
    site.wait_for_success("second");

    let said = site.helm("upgrade", &["--set=image.tag=broken", "--set=hooks.crds=false", "--timeout=20s"]);
    assert!(said.is_err(), "{said:?}");
    let (_, _, ready) = site.container().unwrap();
    assert!(!ready, "it never gets ready");
    site.node.helm(&["rollback", RELEASE, "--namespace", RELEASE, "--wait", "--timeout=150s"]).unwrap();
    site.wait_for_image("next");
    site.offer_script("third", 0);
    site.wait_for_success("third");
    let noted = site.noted();
    let starts: Vec<&str> = noted.iter().filter_map(|line| line.strip_suffix(" starts")).collect();
    assert_eq!(starts, ["first", "second", "third"], "each once");
    std::thread::sleep(seconds(2));
    assert_eq!(site.noted(), noted);
}
