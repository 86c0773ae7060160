//! Devices of the site that overstep: each with its own valid certificate, at the site's real listener, asks for what is
//! another's, speaks for another, or acts in another role. And join files used for what they are not for.

use std::{fs, os::unix::fs::PermissionsExt, process::Output};

use serde_json::{Value, json};
use waybill::{
    content::Digest,
    transport::{
        client::{Listener, Timeouts},
        session::Session,
    },
    trust::identity::Role,
    wire::{
        access::{
            ASSIGNMENT_PATH, BAD_CONTENT_PATH, DP_FILE_PATH, DP_MANIFEST_PATH, INVENTORY_PATH, LOCATIONS_PATH,
            POLICY_PATH, RECORD_PATH, RELAY_BAD_CONTENT_PATH, RELAY_INVENTORY_PATH, RELAY_STATUS_PATH, REPORT_PATH,
            SITE_FILE_PATH, SITE_MANIFEST_PATH, SITE_RECORD_PATH, SNAPSHOT_PATH, STATUS_PATH,
        },
        inventory::{INVENTORY_PURPOSE, Inventory, InventoryReport, SignedInventory},
        policy::PolicyAnswer,
        status::{Outcome, Receipt, STATUS_PURPOSE, SignedBatch, StatusBatch},
    },
};

use crate::world::World;

/// A device's own key and certificate, in other hands.
struct Device {
    session: Session,
    key: waybill::trust::device::DeviceKey,
    http: reqwest::Client,
}

impl Device {
    fn of(world: &World, name: &str) -> Self {
        let state = world.path(name);
        let session: Session = serde_json::from_slice(&fs::read(state.join("session.json")).unwrap()).unwrap();
        let http = session.http(&state, Listener::SiteOr(Role::Dp), Timeouts::default()).unwrap();
        Self { key: Session::key(&state).unwrap(), session, http }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.session.endpoints.site_url)
    }

    async fn get(&self, path: &str) -> u16 {
        self.http.get(self.url(path)).send().await.unwrap().status().as_u16()
    }

    async fn post(&self, path: &str, body: &Value) -> u16 {
        self.http.post(self.url(path)).json(body).send().await.unwrap().status().as_u16()
    }

    /// What the site signed that became of it.
    async fn receipt(&self, path: &str, body: &Value) -> Receipt {
        let answer = self.http.post(self.url(path)).json(body).send().await.unwrap();
        let envelope: Value = answer.error_for_status().unwrap().json().await.unwrap();
        serde_json::from_str(envelope["payload"].as_str().unwrap()).unwrap()
    }

    /// An inventory in `client`'s name with this device's signature.
    fn inventory(&self, client: &str, sequence: u64, hostname: &str) -> SignedInventory {
        let inventory = Inventory { hostname: hostname.into(), ..Inventory::default() };
        let report = serde_json::to_string(&InventoryReport { client: client.into(), sequence, inventory }).unwrap();
        let signature = self.key.sign(INVENTORY_PURPOSE, report.as_bytes()).unwrap();
        SignedInventory { report, signature, certificate: self.session.certificate_pem.clone() }
    }

    /// A batch of status in `sender`'s name with this device's signature.
    fn batch(&self, sender: &str) -> SignedBatch {
        let batch = StatusBatch { sender: sender.into(), outbox: "forged".into(), messages: vec![] };
        let batch = serde_json::to_string(&batch).unwrap();
        let signature = self.key.sign(STATUS_PURPOSE, batch.as_bytes()).unwrap();
        SignedBatch { batch, signature, certificate: self.session.certificate_pem.clone() }
    }
}

#[test]
fn a_device_gets_its_own_and_no_more() {
    let mut world = World::new();
    world.package("tool", 1);
    world.advertise("tool");
    world.up();
    world.join(&["cap", "client-b"]);
    world.until("both run", |world| world.lines().get("tool 1") == Some(&2));
    world.until("all have joined", |world| {
        ["dp", "cap"].iter().all(|name| world.path(&format!("{name}/session.json")).exists())
    });
    let [a, b, dp, cap] = ["client", "client-b", "dp", "cap"].map(|name| Device::of(&world, name));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        roles(&a, &dp, &cap).await;
        // Whatever it writes into its request, a client is answered with its own leaf.
        let b_id = &b.session.id;
        let asked = a.http.get(a.url(&format!("{POLICY_PATH}?client={b_id}&id={b_id}"))).header("x-client", b_id);
        let answer: PolicyAnswer = asked.send().await.unwrap().json().await.unwrap();
        assert_eq!(answer.leaf.client, a.session.id);

        // Status in another's name: by itself, through an access point, and made up by the access point.
        let json = |batch: SignedBatch| serde_json::to_value(batch).unwrap();
        assert_eq!(a.post(STATUS_PATH, &json(a.batch(&a.session.id))).await, 200, "its own is taken");
        assert_eq!(a.post(STATUS_PATH, &json(a.batch(b_id))).await, 403);
        assert_eq!(a.post(STATUS_PATH, &json(b.batch(b_id))).await, 403, "another's own batch is not for it to bring");
        let relayed = |batch: SignedBatch| json!({"client": b_id, "body": batch});
        assert_eq!(cap.post(RELAY_STATUS_PATH, &relayed(b.batch(b_id))).await, 200, "what it is for");
        assert_eq!(cap.post(RELAY_STATUS_PATH, &relayed(a.batch(b_id))).await, 403);
        assert_eq!(cap.post(RELAY_STATUS_PATH, &relayed(cap.batch(b_id))).await, 403);
        assert_eq!(cap.post(RELAY_STATUS_PATH, &relayed(dp.batch(b_id))).await, 403);

        // Inventory: nobody else's signature, nobody else's name, and no old one again.
        let relayed = |signed: &SignedInventory| json!({"client": b_id, "body": signed});
        for forger in [&a, &dp, &cap] {
            assert_eq!(
                cap.post(RELAY_INVENTORY_PATH, &relayed(&forger.inventory(b_id, u64::MAX, "forged"))).await,
                403
            );
        }
        assert_eq!(
            cap.post(RELAY_INVENTORY_PATH, &relayed(&b.inventory(&a.session.id, u64::MAX, "forged"))).await,
            403
        );
        let mut altered = b.inventory(b_id, u64::MAX, "said");
        altered.report = altered.report.replace("said", "forged");
        assert_eq!(cap.post(RELAY_INVENTORY_PATH, &relayed(&altered)).await, 403);
        let (first, second) = (b.inventory(b_id, u64::MAX / 4, "first"), b.inventory(b_id, u64::MAX / 4 + 1, "second"));
        for (signed, stored) in [(&first, true), (&second, true), (&first, false), (&second, true)] {
            let receipt = cap.receipt(RELAY_INVENTORY_PATH, &relayed(signed)).await;
            assert_eq!(matches!(receipt.outcome, Outcome::Stored { .. }), stored, "{}", signed.report);
        }
    });
    let client = world.ask("GET", &format!("/apis/fleet.waybill.dev/v1alpha1/clients/{}", b.session.id), None);
    assert_eq!(client["status"]["hostname"], "second");
}

/// Every route with each role: 403 for all roles but its own.
async fn roles(client: &Device, dp: &Device, cap: &Device) {
    let digest = Digest::of(b"whatever");
    let under = |path: &str| format!("{path}/{digest}");
    let file = format!("{DP_FILE_PATH}/{digest}/{digest}");
    let gets = [
        (POLICY_PATH.to_owned(), Role::Client),
        (under(RECORD_PATH), Role::Client),
        (under(LOCATIONS_PATH), Role::Client),
        (under(DP_MANIFEST_PATH), Role::Client),
        (file, Role::Client),
        (ASSIGNMENT_PATH.to_owned(), Role::Dp),
        (under(SITE_MANIFEST_PATH), Role::Dp),
        (under(SITE_FILE_PATH), Role::Dp),
        (SNAPSHOT_PATH.to_owned(), Role::Cap),
        (under(SITE_RECORD_PATH), Role::Cap),
    ];
    let posts = [
        (STATUS_PATH, Role::Client),
        (INVENTORY_PATH, Role::Client),
        (BAD_CONTENT_PATH, Role::Client),
        (REPORT_PATH, Role::Dp),
        (RELAY_STATUS_PATH, Role::Cap),
        (RELAY_INVENTORY_PATH, Role::Cap),
        (RELAY_BAD_CONTENT_PATH, Role::Cap),
    ];
    for (device, role) in [(client, Role::Client), (dp, Role::Dp), (cap, Role::Cap)] {
        for (path, of) in &gets {
            let status = device.get(path).await;
            // Nobody is offered content of this digest, so the point refuses its own clients too.
            let refused = *of != role || path.starts_with("/dp/");
            assert_eq!(status == 403, refused, "{role} at {path}: {status}");
        }
        for (path, of) in &posts {
            let status = device.post(path, &json!({"no": "such thing"})).await;
            assert_eq!(status, if *of == role { 422 } else { 403 }, "{role} at {path}");
        }
    }
}

#[test]
fn a_join_file_is_good_for_its_role_alone() {
    let mut world = World::new();
    world.start("site");
    world.invite("dp");
    world.invite("client");
    let agent = |file: &str| {
        world.command(&["agent", "run", "--join", file, "--state", "thief", "--config", "agent.json"]).output().unwrap()
    };
    let point = |role: &str, file: &str| {
        world.command(&[role, "--join", file, "--state", &format!("{role}-with-{file}")]).output().unwrap()
    };
    let refused = |output: Output, why: &str| {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(why), "{said}");
    };
    refused(agent("dp.json"), "this join file is for a dp");
    refused(point("dp", "client.json"), "this join file is for a client");
    refused(point("cap", "dp.json"), "this join file is for a dp");

    // The file says something else now; the site still knows what it gave.
    for (from, to) in [("dp", "client"), ("client", "dp")] {
        let mut file: Value = serde_json::from_slice(&fs::read(world.path(&format!("{from}.json"))).unwrap()).unwrap();
        assert_eq!(file["role"], from);
        file["role"] = to.into();
        let forged = world.path(&format!("forged-{to}.json"));
        fs::write(&forged, serde_json::to_vec(&file).unwrap()).unwrap();
        fs::set_permissions(&forged, fs::Permissions::from_mode(0o600)).unwrap();
    }
    refused(agent("forged-client.json"), "this join file is for a dp");
    refused(point("dp", "forged-dp.json"), "this join file is for a client");
    // And it was not used up by that.
    world.start("client");
    world.until("the client joins", |world| world.path("client/session.json").exists());
}

#[test]
fn a_name_is_one_machines_and_the_sites_own_is_nobody_elses() {
    let mut world = World::new();
    world.start("site");
    world.join(&["dp", "cap"]);
    world.until("both have joined", |world| {
        ["dp", "cap"].iter().all(|name| world.path(&format!("{name}/session.json")).exists())
    });
    let create = |role: &str, name: &str| {
        let words = ["token", "create", "--role", role, "--name", name, "--state", "site"];
        let output = world.command(&words).output().unwrap();
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    };
    for (role, name, expected) in [
        ("dp", "main", "'main' is the name of the site and of its built-in distribution point"),
        ("cap", "main", "'main' is the name of the site and of its built-in access point"),
        ("dp", "dp", "'dp' is in use by the distribution point on "),
        ("cap", "cap", "'cap' is in use by the access point on "),
    ] {
        let (made, said) = create(role, name);
        assert!(!made && said.contains(expected), "{role} {name}: {said}");
    }
    assert!(create("cap", "dp").0, "a distribution point and an access point may share a name");
    // One name for an access point, in its own log as everywhere else.
    let log = || fs::read_to_string(world.path("cap.log")).unwrap();
    world.until("it says that it serves", |_| log().contains("the client access point serves"));
    assert!(log().contains("name=cap ") && !log().contains("cap-cap"), "{}", log());

    // A host of that name, or a token from before: nobody joins under it either.
    world.invite("dp-2");
    let database = rusqlite::Connection::open(world.path("site/site.db")).unwrap();
    database.busy_timeout(std::time::Duration::from_secs(10)).unwrap();
    assert_eq!(database.execute("UPDATE tokens SET name = 'main' WHERE name = 'dp-2'", []).unwrap(), 1);
    let output = world.command(&["dp", "--join", "dp-2.json", "--state", "impostor"]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && said.contains("'main' is the name of the site"), "{said}");
}
