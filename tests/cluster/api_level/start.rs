//! Brings the API level up, in the order in which its parts need each other: directory and guardian, keys, etcd, API server, kinds
//! and roles, collector. Every wait has a limit, and a process that ended meanwhile is told with the end of its log.

use std::{fs, net::TcpListener, os::unix::fs::PermissionsExt as _, path::Path, time::Duration};

use rcgen::KeyPair;
use serde_json::json;

use super::{
    RealApi, arguments, audit,
    certificates::Authority,
    guardian::Guardian,
    kinds,
    process::Process,
    tools::Tools,
    users::{CONTROLLER_MANAGER, FRONT_PROXY},
};

/// Longest wait for etcd; it takes a third of a second.
const ETCD_LIMIT: Duration = Duration::from_secs(60);
/// Longest wait for the API server; it takes three seconds on a machine of its own, and tests may fill the machine.
const API_SERVER_LIMIT: Duration = Duration::from_secs(120);
/// A port that was free may be taken before its server binds it; so often it is tried anew.
const ATTEMPTS: usize = 3;
/// How a server says that its port is taken.
const PORT_TAKEN: &str = "address already in use";

/// [`RealApi`], from a thread outside of any runtime.
pub(super) fn blocking(with_collector: bool) -> Result<RealApi, String> {
    waybill::transport::install_crypto();
    let mut tools = Tools::find()?;
    tools.kube_controller_manager = tools.kube_controller_manager.filter(|_| with_collector);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(text)?;
    let mut attempt = 1;
    loop {
        match runtime.block_on(start(&tools)) {
            Err(error) if error.contains(PORT_TAKEN) && attempt < ATTEMPTS => attempt += 1,
            done => return done,
        }
    }
}

async fn start(tools: &Tools) -> Result<RealApi, String> {
    let directory = tempfile::Builder::new().prefix("waybill-cluster-").tempdir().map_err(text)?;
    let directory = fs::canonicalize(directory.keep()).map_err(text)?;
    let guardian = Guardian::of(&directory).map_err(text)?;
    let authority = keys(&directory)?;
    let [client, peer, port] = free_ports()?;
    let etcd_url = format!("http://127.0.0.1:{client}");
    let url = format!("https://127.0.0.1:{port}");

    let mut etcd = Process::start("etcd", &tools.etcd, &arguments::etcd(client, peer), &directory).map_err(text)?;
    let http = reqwest::Client::new();
    etcd.until(ETCD_LIMIT, "healthy", async || is_ok(&http, &format!("{etcd_url}/health")).await).await?;

    let arguments = arguments::kube_apiserver(&directory, port, &etcd_url);
    let mut server = Process::start("kube-apiserver", &tools.kube_apiserver, &arguments, &directory).map_err(text)?;
    let https =
        reqwest::Client::builder().tls_certs_only(reqwest::Certificate::from_pem(authority.certificate_pem.as_bytes()));
    let https = https.build().map_err(text)?;
    server.until(API_SERVER_LIMIT, "ready", async || is_ok(&https, &format!("{url}/readyz")).await).await?;

    let mut api = RealApi {
        directory,
        authority,
        url,
        etcd_url,
        collects: false,
        _processes: vec![server, etcd],
        _guardian: guardian,
    };
    kinds::install(&api).await?;
    if let Some(program) = &tools.kube_controller_manager {
        // After the kinds: its collector learns of new ones only every half minute.
        fs::write(api.directory.join("controller-manager.kubeconfig"), api.kubeconfig(&CONTROLLER_MANAGER, "default"))
            .map_err(text)?;
        let arguments = arguments::kube_controller_manager(&api.directory);
        let manager = Process::start("kube-controller-manager", program, &arguments, &api.directory).map_err(text)?;
        api._processes.insert(0, manager);
        api.collects = true;
    }
    Ok(api)
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// Makes all keys and certificates; they lie in files that only their owner reads.
fn keys(directory: &Path) -> Result<Authority, String> {
    fs::set_permissions(directory, fs::Permissions::from_mode(0o700)).map_err(text)?;
    let authority = Authority::new("test API").map_err(text)?;
    let serving = authority.serving(&["127.0.0.1", "localhost"]).map_err(text)?;
    let proxies = Authority::new("test front proxy").map_err(text)?;
    let front_proxy = proxies.user(&FRONT_PROXY).map_err(text)?;
    let accounts = KeyPair::generate().map_err(text)?;
    for (name, content) in [
        ("ca.crt", authority.certificate_pem.clone()),
        ("serving.crt", serving.certificate_pem),
        ("serving.key", serving.key_pem),
        ("sa.key", accounts.serialize_pem()),
        ("sa.pub", accounts.public_key_pem()),
        ("front-proxy-ca.crt", proxies.certificate_pem),
        ("front-proxy.crt", front_proxy.certificate_pem),
        ("front-proxy.key", front_proxy.key_pem),
        ("audit-policy.json", audit::policy().to_string()),
    ] {
        fs::write(directory.join(name), content).map_err(text)?;
    }
    Ok(authority)
}

/// Ports that nobody listens on now.
fn free_ports<const N: usize>() -> Result<[u16; N], String> {
    let listeners: Vec<TcpListener> =
        (0..N).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<_, _>>().map_err(text)?;
    let ports: Vec<u16> =
        listeners.iter().map(|l| Ok(l.local_addr()?.port())).collect::<std::io::Result<_>>().map_err(text)?;
    ports.try_into().map_err(|_| "no ports".to_owned())
}

async fn is_ok(client: &reqwest::Client, url: &str) -> bool {
    client.get(url).send().await.is_ok_and(|answer| answer.status().is_success())
}

/// Has etcd forget everything before its present revision.
pub(super) async fn compact(etcd_url: &str) -> Result<(), String> {
    let http = reqwest::Client::new();
    let call = async |path: &str, body: serde_json::Value| -> Result<serde_json::Value, reqwest::Error> {
        http.post(format!("{etcd_url}/v3/{path}")).json(&body).send().await?.error_for_status()?.json().await
    };
    let status = call("maintenance/status", json!({})).await.map_err(text)?;
    let revision = status["header"]["revision"].as_str().ok_or("etcd does not say its revision")?;
    call("kv/compaction", json!({"revision": revision, "physical": true})).await.map_err(text).map(drop)
}
