//! How the processes of the API level are started: what is not named here is what the programs do by themselves.

use std::path::Path;

use super::FRONT_PROXY;

/// A file of the scratch directory as an argument.
fn file(directory: &Path, name: &str) -> String {
    directory.join(name).display().to_string()
}

/// etcd, one member. Its data need not survive the machine: nothing is synced.
pub(crate) fn etcd(client: u16, peer: u16) -> Vec<String> {
    let (client, peer) = (format!("http://127.0.0.1:{client}"), format!("http://127.0.0.1:{peer}"));
    vec![
        "--data-dir=etcd".into(),
        "--unsafe-no-fsync".into(),
        format!("--listen-client-urls={client}"),
        format!("--advertise-client-urls={client}"),
        format!("--listen-peer-urls={peer}"),
        format!("--initial-advertise-peer-urls={peer}"),
        format!("--initial-cluster=default={peer}"),
    ]
}

/// kube-apiserver with RBAC, client certificates, its default admission plugins, and an audit log that is written before the
/// answer goes out.
pub(crate) fn kube_apiserver(directory: &Path, port: u16, etcd_url: &str) -> Vec<String> {
    vec![
        format!("--etcd-servers={etcd_url}"),
        "--bind-address=127.0.0.1".into(),
        format!("--secure-port={port}"),
        // nobody else serves `kubernetes.default`, and a loopback address cannot
        "--endpoint-reconciler-type=none".into(),
        "--service-cluster-ip-range=10.0.0.0/24".into(),
        format!("--cert-dir={}", file(directory, "cert")),
        format!("--tls-cert-file={}", file(directory, "serving.crt")),
        format!("--tls-private-key-file={}", file(directory, "serving.key")),
        format!("--client-ca-file={}", file(directory, "ca.crt")),
        "--authorization-mode=RBAC".into(),
        "--service-account-issuer=https://kubernetes.default.svc".into(),
        format!("--service-account-key-file={}", file(directory, "sa.pub")),
        format!("--service-account-signing-key-file={}", file(directory, "sa.key")),
        format!("--audit-policy-file={}", file(directory, "audit-policy.json")),
        format!("--audit-log-path={}", file(directory, super::audit::LOG)),
        "--audit-log-mode=blocking".into(),
        // As whom it calls servers of aggregated APIs, and what it tells them to believe.
        format!("--proxy-client-cert-file={}", file(directory, "front-proxy.crt")),
        format!("--proxy-client-key-file={}", file(directory, "front-proxy.key")),
        format!("--requestheader-client-ca-file={}", file(directory, "front-proxy-ca.crt")),
        format!("--requestheader-allowed-names={}", FRONT_PROXY.name),
        "--requestheader-username-headers=X-Remote-User".into(),
        "--requestheader-uid-headers=X-Remote-Uid".into(),
        "--requestheader-group-headers=X-Remote-Group".into(),
        "--requestheader-extra-headers-prefix=X-Remote-Extra-".into(),
    ]
}

/// kube-controller-manager with the two controllers that an API without nodes needs, each under its own ServiceAccount.
pub(crate) fn kube_controller_manager(directory: &Path) -> Vec<String> {
    vec![
        format!("--kubeconfig={}", file(directory, "controller-manager.kubeconfig")),
        "--controllers=garbage-collector-controller,namespace-controller".into(),
        "--use-service-account-credentials".into(),
        format!("--service-account-private-key-file={}", file(directory, "sa.key")),
        "--leader-elect=false".into(),
        "--secure-port=0".into(),
    ]
}
