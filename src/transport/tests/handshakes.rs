//! Who gets a connection at all, on each kind of listener, and whom a client accepts as its server.

use std::process::Command;

use super::*;
use crate::content::Digest;
use crate::transport::authorities::CallersAuthorities;
use crate::transport::server::serve_plain;
use crate::trust::identity::lifetime;

#[tokio::test]
async fn a_device_is_known_by_its_certificate() {
    let site = Site::new();
    let running = start(site.devices(), Limits::default()).await;
    let client = site.client(&site.device(Role::Client, "c-1"));
    let answer = client.get(running.url("/whoami")).send().await.unwrap();
    assert_eq!(answer.version(), reqwest::Version::HTTP_2);
    assert_eq!(answer.text().await.unwrap(), "waybill://hq/client/c-1");
}

/// The test above in a process whose environment names a proxy where nobody listens.
#[test]
fn a_proxy_of_the_environment_is_not_used() {
    let mut again = Command::new(std::env::current_exe().unwrap());
    again.args(["--exact", "transport::tests::handshakes::a_device_is_known_by_its_certificate"]);
    for name in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
        again.env(name, "http://127.0.0.1:1");
    }
    for name in ["NO_PROXY", "no_proxy"] {
        again.env_remove(name);
    }
    let output = again.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

#[tokio::test]
async fn without_a_certificate_of_this_authority_there_is_no_connection() {
    let (site, other) = (Site::new(), Site::new());
    let running = start(site.devices(), Limits::default()).await;
    assert!(site.joining().get(running.url("/whoami")).send().await.is_err(), "no certificate");

    let stranger = other.device(Role::Client, "c-1");
    assert!(site.client(&stranger).get(running.url("/whoami")).send().await.is_err(), "another authority's");

    let long_ago = clock::now() - 2 * IDENTITY_LIFETIME;
    // The authority began today as well, so make one that was there then.
    let old = CertificateAuthority::create("Waybill devices", long_ago).unwrap();
    let old = Site { ca: old, certificate: site.certificate.clone() };
    let expired = old.device_living(Role::Client, "c-1", long_ago, IDENTITY_LIFETIME);
    let listener = ServerTls::devices(site.certificate.clone(), old.ca.certificate_pem()).unwrap();
    let running = start(listener, Limits::default()).await;
    assert!(site.client(&expired).get(running.url("/whoami")).send().await.is_err(), "expired");
    let fresh = old.device(Role::Client, "c-1");
    assert_eq!(text(&site.client(&fresh), running.url("/whoami")).await, "waybill://hq/client/c-1", "to compare with");
}

#[tokio::test]
async fn a_listeners_own_certificate_opens_no_listener_for_devices() {
    let site = Site::new();
    let running = start(site.devices(), Limits::default()).await;
    let key = DeviceKey::generate().unwrap();
    let serving = site.ca.issue_serving(&key, &names(&["127.0.0.1"]), clock::now()).unwrap();
    let device = Device { key, chain_pem: serving.chain_pem };
    assert!(site.client(&device).get(running.url("/whoami")).send().await.is_err());
    let user_key = DeviceKey::generate().unwrap();
    let user = site.ca.issue_user(&user_key, "admin", "admins", clock::now()).unwrap();
    let user = Device { key: user_key, chain_pem: user.chain_pem };
    assert!(
        site.client(&user).get(running.url("/whoami")).send().await.is_err(),
        "no device, though of this authority"
    );
}

#[tokio::test]
async fn joining_needs_the_pinned_authority() {
    let (site, other) = (Site::new(), Site::new());
    let running = start(ServerTls::anybody(site.certificate.clone()).unwrap(), Limits::default()).await;
    assert_eq!(text(&site.joining(), running.url("/whoami")).await, "anonymous");
    assert!(other.joining().get(running.url("/whoami")).send().await.is_err(), "another pin");
    let by_name = format!("https://localhost:{}/whoami", running.addr.port());
    assert!(site.joining().get(by_name).send().await.is_err(), "a name that the certificate does not have");
}

#[tokio::test]
async fn a_copy_of_the_pinned_certificate_is_no_proof() {
    let (site, thief) = (Site::new(), Site::new());
    let key = DeviceKey::generate().unwrap();
    let own = thief.ca.issue_serving(&key, &names(&["127.0.0.1"]), clock::now()).unwrap();
    let own_leaf = own.chain_pem.replace(thief.ca.certificate_pem(), "");
    let chain = format!("{own_leaf}{}", site.ca.certificate_pem());
    assert_eq!(Digest::of(&certificates(&chain).unwrap()[1]), site.ca.fingerprint());
    let certificate = ServingCertificate::new(&chain, &key).unwrap();
    let running = start(ServerTls::anybody(certificate).unwrap(), Limits::default()).await;
    assert!(site.joining().get(running.url("/whoami")).send().await.is_err());
}

#[tokio::test]
async fn a_point_of_the_site_cannot_pose_as_the_site() {
    let site = Site::new();
    let point = site.device(Role::Dp, "dp-1");
    let certificate = ServingCertificate::new(&point.chain_pem, &point.key).unwrap();
    let posing = start(ServerTls::anybody(certificate.clone()).unwrap(), Limits::default()).await;
    assert!(site.joining().get(posing.url("/whoami")).send().await.is_err(), "it would get the join secret");

    let tls = ServerTls::devices(certificate, site.ca.certificate_pem()).unwrap();
    let running = start(tls, Limits::default()).await;
    let device = site.device(Role::Client, "c-1");
    let as_who = |listener| site.client_for(&device, listener);
    let url = || running.url("/whoami");
    assert_eq!(text(&as_who(Listener::SiteOr(Role::Dp)), url()).await, "waybill://hq/client/c-1");
    assert!(as_who(Listener::SiteOr(Role::Cap)).get(url()).send().await.is_err());
    assert!(as_who(Listener::Site).get(url()).send().await.is_err());
}

#[tokio::test]
async fn a_client_trusts_its_own_site_only() {
    let (site, other) = (Site::new(), Site::new());
    let device = site.device(Role::Client, "c-1");
    let tls = ServerTls::devices(other.certificate.clone(), site.ca.certificate_pem()).unwrap();
    let running = start(tls, Limits::default()).await;
    assert!(site.client(&device).get(running.url("/whoami")).send().await.is_err());
}

#[tokio::test]
async fn users_of_the_api_may_come_without_a_certificate_but_not_with_a_foreign_one() {
    let (site, api) = (Site::new(), Site::new());
    let tls = ServerTls::kubernetes(api.certificate.clone(), api.ca.certificate_pem()).unwrap();
    let running = start(tls, Limits::default()).await;
    assert_eq!(text(&api.joining(), running.url("/whoami")).await, "anonymous");

    let key = DeviceKey::generate().unwrap();
    let issued = api.ca.issue_user(&key, "admin", "waybill:admins", clock::now()).unwrap();
    let admin = Device { key, chain_pem: issued.chain_pem };
    assert_eq!(text(&api.client(&admin), running.url("/whoami")).await, "admin of waybill:admins");

    let device = site.device(Role::Client, "c-1");
    assert!(api.client(&device).get(running.url("/whoami")).send().await.is_err(), "two authorities, not one");
}

#[tokio::test]
async fn a_front_proxy_has_a_certificate_of_its_authorities_whichever_they_are_now() {
    let (site, cluster, next) = (Site::new(), Site::new(), Site::new());
    let proxy = |of: &Site| {
        let key = DeviceKey::generate().unwrap();
        let issued = of.ca.issue_user(&key, "front-proxy", "proxies", clock::now()).unwrap();
        Device { key, chain_pem: issued.chain_pem }
    };
    let authorities = CallersAuthorities::new(cluster.ca.certificate_pem()).unwrap();
    let tls = ServerTls::front_proxy(site.certificate.clone(), authorities.clone()).unwrap();
    let running = start(tls, Limits::default()).await;
    let url = || running.url("/whoami");
    let gets_in = async |device: &Device| site.client(device).get(url()).send().await.is_ok();
    assert!(site.joining().get(url()).send().await.is_err(), "nobody comes without one");
    assert_eq!(text(&site.client(&proxy(&cluster)), url()).await, "front-proxy of proxies");
    assert!(!gets_in(&proxy(&next)).await && !gets_in(&site.device(Role::Client, "c-1")).await);

    // While the cluster replaces its authority it publishes both, then the new one.
    let both = format!("{}{}", cluster.ca.certificate_pem(), next.ca.certificate_pem());
    authorities.replace(&both).unwrap();
    assert!(gets_in(&proxy(&cluster)).await && gets_in(&proxy(&next)).await);
    authorities.replace(next.ca.certificate_pem()).unwrap();
    assert!(!gets_in(&proxy(&cluster)).await && gets_in(&proxy(&next)).await);
    assert!(authorities.replace("no certificate").is_err() && gets_in(&proxy(&next)).await, "the old ones stay");
}

#[tokio::test]
async fn older_tls_is_not_spoken() {
    let site = Site::new();
    let running = start(ServerTls::anybody(site.certificate.clone()).unwrap(), Limits::default()).await;
    let older = raw_speaking(&site, None, &running, &[&rustls::version::TLS12], |_| {}).await.unwrap_err();
    assert!(older.to_string().contains("ProtocolVersion"), "{older}");
    raw_speaking(&site, None, &running, &[&rustls::version::TLS13], |_| {}).await.unwrap();
}

#[tokio::test]
async fn no_session_is_resumed() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let site = Site::new();
    let running = start(ServerTls::anybody(site.certificate.clone()).unwrap(), Limits::default()).await;
    // One configuration for both connections: a library resumes only what the very same verifier has accepted.
    let mut config = None;
    raw(&site, None, &running, |made| config = Some(Arc::new(made.clone()))).await.unwrap();
    let config = config.unwrap();
    for _ in 0..2 {
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let stream = TcpStream::connect(running.addr).await.unwrap();
        let mut stream = tokio_rustls::TlsConnector::from(config.clone()).connect(name, stream).await.unwrap();
        stream.write_all(b"GET /whoami HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.ends_with("anonymous"), "{answer}");
        assert_eq!(stream.get_ref().1.handshake_kind(), Some(rustls::HandshakeKind::Full));
    }
}

#[tokio::test]
async fn a_renewed_certificate_is_presented_at_once() {
    let site = Site::new();
    let running = start(ServerTls::anybody(site.certificate.clone()).unwrap(), Limits::default()).await;
    let presented = async || {
        let stream = raw(&site, None, &running, |_| {}).await.unwrap();
        stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
    };
    let before = presented().await;
    let key = DeviceKey::generate().unwrap();
    let renewed = site.ca.issue_serving(&key, &names(&["127.0.0.1"]), clock::now()).unwrap();

    let mismatched = site.certificate.replace(&renewed.chain_pem, &DeviceKey::generate().unwrap());
    assert!(mismatched.is_err());
    assert_eq!(presented().await, before, "a certificate without its key changes nothing");

    site.certificate.replace(&renewed.chain_pem, &key).unwrap();
    assert_eq!(presented().await, renewed.der);
    assert_eq!(lifetime(&renewed.der).unwrap().1, renewed.not_after);
}

#[tokio::test]
async fn health_is_served_without_tls_to_anybody() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (addr, shutdown) = (listener.local_addr().unwrap(), CancellationToken::new());
    let task = tokio::spawn(serve_plain(listener, router(), Limits::default(), shutdown.clone()));
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    assert_eq!(text(&client, format!("http://{addr}/whoami")).await, "anonymous");
    shutdown.cancel();
    task.await.unwrap();
}
