//! Who may speak with the site's pod: every (peer, port) pair that the rendered NetworkPolicy permits, computed as the API
//! defines it, held against a table.

use std::{collections::BTreeSet, net::IpAddr};

use serde_json::{Value, json};

use super::{Helm, NAMESPACE, only};

/// Somebody at the other end.
struct Peer {
    name: &'static str,
    address: &'static str,
    /// The namespace and the pod's labels, if it is a pod.
    pod: Option<(&'static str, Value)>,
}

fn peers() -> Vec<Peer> {
    vec![
        Peer { name: "a machine outside", address: "203.0.113.7", pod: None },
        Peer { name: "a machine of the branch", address: "10.20.0.5", pod: None },
        Peer { name: "the API server", address: "172.16.0.1", pod: None },
        Peer { name: "a pod beside", address: "10.42.0.9", pod: Some((NAMESPACE, json!({"app": "other"}))) },
        Peer { name: "Prometheus", address: "10.42.1.3", pod: Some(("monitoring", json!({"app": "prometheus"}))) },
    ]
}

const PORTS: [u16; 8] = [53, 443, 6443, 7443, 7444, 7445, 7446, 7447];

fn selects(selector: &Value, labels: &Value) -> bool {
    assert!(selector.get("matchExpressions").is_none(), "this test knows matchLabels only");
    let wanted = selector["matchLabels"].as_object();
    wanted.is_none_or(|wanted| wanted.iter().all(|(key, value)| labels.get(key) == Some(value)))
}

fn covers(block: &str, address: &str) -> bool {
    let (network, bits) = block.split_once('/').unwrap();
    let (network, address): (IpAddr, IpAddr) = (network.parse().unwrap(), address.parse().unwrap());
    let (IpAddr::V4(network), IpAddr::V4(address)) = (network, address) else { return false };
    let shift = 32 - bits.parse::<u32>().unwrap();
    u32::from(network).checked_shr(shift) == u32::from(address).checked_shr(shift)
}

/// Whether a NetworkPolicyPeer means this one.
fn means(rule: &Value, peer: &Peer) -> bool {
    if let Some(block) = rule.get("ipBlock") {
        let out = |except: &Value| covers(except.as_str().unwrap(), peer.address);
        let excepted = block["except"].as_array().is_some_and(|list| list.iter().any(out));
        return covers(block["cidr"].as_str().unwrap(), peer.address) && !excepted;
    }
    let Some((namespace, labels)) = &peer.pod else { return false };
    let in_namespace = match rule.get("namespaceSelector") {
        Some(selector) => selects(selector, &json!({"kubernetes.io/metadata.name": namespace})),
        None => *namespace == NAMESPACE,
    };
    in_namespace && rule.get("podSelector").is_none_or(|selector| selects(selector, labels))
}

/// Who may reach which port, or be reached on it.
type Pairs = BTreeSet<(&'static str, u16)>;

/// The pairs that a list of rules permits; a direction without rules permits none.
fn permitted(rules: &Value, side: &str) -> Pairs {
    let mut pairs = BTreeSet::new();
    for rule in rules.as_array().unwrap() {
        for peer in peers() {
            let listed = rule[side].as_array().filter(|list| !list.is_empty());
            if !listed.is_none_or(|list| list.iter().any(|one| means(one, &peer))) {
                continue;
            }
            for port in PORTS {
                let ports = rule["ports"].as_array().filter(|list| !list.is_empty());
                if ports.is_none_or(|list| list.iter().any(|one| one["port"] == port && one["protocol"] == "TCP")) {
                    pairs.insert((peer.name, port));
                }
            }
        }
    }
    pairs
}

/// What the policy rendered with these values permits: (in, out).
fn pairs(helm: &Helm, values: &[&str]) -> (Pairs, Pairs) {
    let objects = helm.rendered(values);
    let policy = only(&objects, "NetworkPolicy");
    assert_eq!(policy["spec"]["policyTypes"], json!(["Ingress", "Egress"]));
    (permitted(&policy["spec"]["ingress"], "from"), permitted(&policy["spec"]["egress"], "to"))
}

fn everybody(ports: &[u16]) -> Pairs {
    peers().iter().flat_map(|peer| ports.iter().map(|port| (peer.name, *port))).collect()
}

#[test]
fn clients_come_in_and_nothing_goes_out_but_to_the_api_server() {
    let Some(helm) = Helm::find() else { return };
    let (into, out) = pairs(&helm, &[]);
    // Neither metrics nor the fleet API, and no DNS.
    assert_eq!(into, everybody(&[7444, 7445]));
    assert_eq!(out, everybody(&[443, 6443]));
}

#[test]
fn each_peer_may_be_narrowed_down() {
    let Some(helm) = Helm::find() else { return };
    let (into, out) = pairs(
        &helm,
        &[
            r#"networkPolicy.devices=[{"ipBlock":{"cidr":"10.0.0.0/8","except":["10.42.0.0/16"]}}]"#,
            r#"networkPolicy.monitoring=[{"namespaceSelector":{"matchLabels":{"kubernetes.io/metadata.name":"monitoring"}}}]"#,
            r#"networkPolicy.apiServer={"to":[{"ipBlock":{"cidr":"172.16.0.1/32"}}],"ports":[6443]}"#,
        ],
    );
    let branch = "a machine of the branch";
    assert_eq!(into, BTreeSet::from([(branch, 7444), (branch, 7445), ("Prometheus", 7446)]));
    assert_eq!(out, BTreeSet::from([("the API server", 6443)]));
    assert!(helm.rendered(&["networkPolicy.enabled=false"]).iter().all(|object| object["kind"] != "NetworkPolicy"));
}

#[test]
fn the_api_server_comes_in_where_rows_are_a_part_of_its_api() {
    let Some(helm) = Helm::find() else { return };
    let (into, out) = pairs(&helm, &["fleetApi.enabled=true"]);
    assert_eq!(into, everybody(&[7444, 7445, 7447]));
    assert_eq!(out, everybody(&[443, 6443]));
    let narrowed = r#"fleetApi={"enabled":true,"from":[{"ipBlock":{"cidr":"172.16.0.1/32"}}]}"#;
    let (mut into, _) = pairs(&helm, &[narrowed]);
    into.retain(|(_, port)| *port == 7447);
    assert_eq!(into, BTreeSet::from([("the API server", 7447)]));
}

#[test]
fn the_computation_finds_a_hole() {
    let hole = json!([{"ports": [{"protocol": "TCP", "port": 7446}], "from": [{"podSelector": {}}]}, {"from": []}]);
    let pairs = permitted(&hole, "from");
    assert!(pairs.contains(&("a pod beside", 7446)) && pairs.contains(&("a machine outside", 53)));
    let closed = json!([{"ports": [{"protocol": "UDP", "port": 7446}]}]);
    assert!(permitted(&closed, "from").is_empty() && permitted(&json!([]), "from").is_empty());
}
