//! What a stranger sees of a process: its listening sockets as the kernel lists them, and what comes back over TLS.

use std::{
    collections::BTreeSet,
    fs,
    io::{Read, Write},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    path::Path,
    sync::Arc,
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use rcgen::{CertificateParams, DnType, KeyPair};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme, StreamOwned,
    SupportedProtocolVersion,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
};
use waybill::{
    clock,
    transport::session::Session,
    trust::{
        ca::{CertificateAuthority, Grant},
        device::DeviceKey,
        identity::{PeerIdentity, Role, certificates},
        names::ServerNames,
    },
};

/// A listener that says nothing for this long says nothing at all: longer than its own limits for silent callers.
const PATIENCE: Duration = Duration::from_secs(30);
/// State of a listening TCP socket in the kernel's tables.
const LISTENING: &str = "0A";

/// A chain with its key.
pub(super) struct Caller {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Caller {
    /// The device whose state directory this is.
    pub(super) fn of_state(state: &Path) -> Self {
        let session: Session = serde_json::from_slice(&fs::read(state.join("session.json")).unwrap()).unwrap();
        let chain = certificates(&session.certificate_pem).unwrap();
        Self { chain, key: DeviceKey::load(&state.join("device.key")).unwrap().unwrap().to_tls() }
    }

    /// The user of a kubeconfig.
    pub(super) fn of_kubeconfig(file: &Path) -> Self {
        let config: serde_json::Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
        let user = &config["users"][0]["user"];
        let pem = |name: &str| STANDARD.decode(user[name].as_str().unwrap()).unwrap();
        let chain = CertificateDer::pem_slice_iter(&pem("client-certificate-data")).map(Result::unwrap).collect();
        Self { chain, key: PrivateKeyDer::from_pem_slice(&pem("client-key-data")).unwrap() }
    }

    /// Somebody who vouches for himself, under the very name of a device of the site.
    pub(super) fn self_signed(like: &Self) -> Self {
        let identity = PeerIdentity::from_certificate(&like.chain[0]).unwrap();
        let key = KeyPair::generate().unwrap();
        let mut parameters = CertificateParams::new(vec![]).unwrap();
        parameters.subject_alt_names = vec![rcgen::SanType::URI(identity.uri().try_into().unwrap())];
        parameters.distinguished_name.push(DnType::CommonName, "waybill:admin");
        parameters.distinguished_name.push(DnType::OrganizationName, "waybill:admins");
        let certificate = parameters.self_signed(&key).unwrap();
        Self { chain: vec![certificate.der().clone()], key: PrivateKeyDer::try_from(key.serialize_der()).unwrap() }
    }

    /// A device of another site, which gave it the very name of a device of this one.
    pub(super) fn of_another_site(like: &Self) -> Self {
        let identity = PeerIdentity::from_certificate(&like.chain[0]).unwrap();
        let other = CertificateAuthority::create("Waybill devices", clock::now()).unwrap();
        let (key, names) = (DeviceKey::generate().unwrap(), ServerNames::default());
        let (id, site_id, lifetime) = (identity.id.as_str(), identity.site_id.as_str(), Duration::from_secs(3600));
        let grant = Grant { site_id, role: Role::Client, id, names: &names, lifetime };
        let issued = other.issue_identity(&key.csr_pem().unwrap(), &grant, clock::now()).unwrap();
        Self { chain: certificates(&issued.chain_pem).unwrap(), key: key.to_tls() }
    }
}

/// Everything that comes back over TLS for one GET; `None` if the caller gets no connection.
pub(super) fn get(
    addr: SocketAddr,
    caller: Option<&Caller>,
    versions: &[&'static SupportedProtocolVersion],
    path: &str,
) -> Option<String> {
    get_with_head(addr, caller, versions, path, "")
}

/// As [`get`], with more lines in the head.
pub(super) fn get_with_head(
    addr: SocketAddr,
    caller: Option<&Caller>,
    versions: &[&'static SupportedProtocolVersion],
    path: &str,
    head: &str,
) -> Option<String> {
    let mut tls = connect(addr, caller, versions);
    // With TLS 1.3 a refusal arrives after the client has finished its part, so only an answer shows a connection.
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{head}\r\n");
    let mut answer = Vec::new();
    let told = tls.write_all(request.as_bytes()).and_then(|()| tls.read_to_end(&mut answer));
    match told {
        Err(error) if answer.is_empty() => {
            assert_ne!(error.kind(), std::io::ErrorKind::WouldBlock, "{addr} neither answers nor closes");
            None
        }
        // Some close without the good-bye of TLS.
        _ => (!answer.is_empty()).then(|| String::from_utf8_lossy(&answer).into_owned()),
    }
}

/// A connection over TLS; whether the server wants it shows when it is used.
fn connect(
    addr: SocketAddr,
    caller: Option<&Caller>,
    versions: &[&'static SupportedProtocolVersion],
) -> StreamOwned<ClientConnection, TcpStream> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody));
    let config = match caller {
        Some(caller) => builder.with_client_auth_cert(caller.chain.clone(), caller.key.clone_key()).unwrap(),
        None => builder.with_no_client_auth(),
    };
    let stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    StreamOwned::new(ClientConnection::new(Arc::new(config), ServerName::from(addr.ip())).unwrap(), stream)
}

/// A connection that stays open between requests.
pub(super) struct Held(StreamOwned<ClientConnection, TcpStream>);

impl Held {
    /// Opens one to a port of this machine, without a certificate that could end meanwhile, and asks once.
    pub(super) fn open(port: u16) -> Self {
        let mut held = Self(connect((Ipv4Addr::LOCALHOST, port).into(), None, &[&rustls::version::TLS13]));
        assert!(held.answers());
        held
    }

    /// What the server showed.
    pub(super) fn server(&self) -> Vec<u8> {
        self.0.conn.peer_certificates().unwrap()[0].to_vec()
    }

    /// Whether another request is answered, to its end.
    pub(super) fn answers(&mut self) -> bool {
        let mut answer = String::new();
        let asked = self.0.write_all(b"GET /version HTTP/1.1\r\nhost: x\r\n\r\n");
        let mut byte = [0];
        while !answer.ends_with("\r\n\r\n") {
            if asked.is_err() || self.0.read_exact(&mut byte).is_err() {
                return false;
            }
            answer.push(char::from(byte[0]));
        }
        let length = answer.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
        answer.starts_with("HTTP/1.1 ") && self.0.read_exact(&mut vec![0; length]).is_ok()
    }
}

/// What comes back for one GET without TLS.
pub(crate) fn get_plain(addr: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes()).unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

/// The TCP sockets that a process listens on, and how many sockets it has on which anybody could send without a
/// connection (UDP, raw, SCTP).
pub(super) fn listening(pid: u32) -> (BTreeSet<SocketAddr>, usize) {
    let own: BTreeSet<String> = fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok()?.to_str().map(str::to_owned))
        .filter_map(|link| Some(link.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()))
        .collect();
    let rows = |table: &str| -> Vec<Vec<String>> {
        let text = fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap_or_default();
        let rows = text.lines().skip(1).map(|line| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
        rows.filter(|row| row.get(9).is_some_and(|inode| own.contains(inode))).collect()
    };
    let tcp = ["tcp", "tcp6"].iter().flat_map(|table| rows(table)).filter(|row| row[3] == LISTENING);
    let tcp = tcp.map(|row| address(&row[1])).collect();
    let open = ["udp", "udp6", "udplite", "udplite6", "raw", "raw6"].iter().map(|table| rows(table).len()).sum();
    (tcp, open)
}

/// Reads `0100007F:1D13`: each 32-bit word in the machine's own byte order.
fn address(text: &str) -> SocketAddr {
    let (ip, port) = text.split_once(':').unwrap();
    let port = u16::from_str_radix(port, 16).unwrap();
    let words = ip.as_bytes().chunks(8).map(|word| {
        let word = u32::from_str_radix(std::str::from_utf8(word).unwrap(), 16).unwrap();
        word.to_ne_bytes()
    });
    let bytes: Vec<u8> = words.flatten().collect();
    match <[u8; 4]>::try_from(bytes.clone()) {
        Ok(v4) => (Ipv4Addr::from(v4), port).into(),
        Err(_) => (Ipv6Addr::from(<[u8; 16]>::try_from(bytes).unwrap()), port).into(),
    }
}

/// Talks to every server: what is judged is the server's judgement.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}
