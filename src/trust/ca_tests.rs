//! What the authority issues, read back with another library, and what it refuses.

use std::os::unix::fs::PermissionsExt as _;

use x509_parser::extensions::GeneralName;

use super::super::identity::{PeerIdentity, UserIdentity, lifetime, renew_after};
use super::super::keys::SiteKey;
use super::*;

fn now() -> Timestamp {
    "2026-11-21T08:00:00Z".parse().unwrap()
}

fn authority() -> CertificateAuthority {
    CertificateAuthority::create("Waybill test authority", now()).unwrap()
}

fn names(names: &[&str]) -> ServerNames {
    ServerNames::parse(names).unwrap()
}

fn grant<'a>(role: Role, id: &'a str, names: &'a ServerNames) -> Grant<'a> {
    Grant { site_id: "hq", role, id, names, lifetime: IDENTITY_LIFETIME }
}

#[test]
fn an_authority_is_private_and_comes_back_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let home = directory.path().join("device-ca");
    let made = CertificateAuthority::load_or_create(&home, "Waybill devices", now()).unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&home), mode(&home.join("ca.pem"))), (0o700, 0o600));
    let read = CertificateAuthority::load_or_create(&home, "another name", now()).unwrap();
    assert_eq!(read.fingerprint(), made.fingerprint());
    assert_eq!(read.certificate_pem(), made.certificate_pem());
    // What the one that was read issues, the certificate of the one that was made vouches for.
    let csr = DeviceKey::generate().unwrap().csr_pem().unwrap();
    let issued = read.issue_identity(&csr, &grant(Role::Client, "c1", &names(&[])), now()).unwrap();
    PeerIdentity::verified(&issued.der, made.certificate_der(), now()).unwrap();
}

#[test]
fn a_damaged_authority_is_reported_and_never_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ca.pem");
    let (one, two) = (authority(), authority());
    let mixed = format!("{}{}", one.issuer.key().serialize_pem(), two.certificate_pem());
    let device = one.issue_serving(&DeviceKey::generate().unwrap(), &names(&["a"]), now()).unwrap();
    for content in [String::new(), one.certificate_pem().to_owned(), mixed, device.chain_pem] {
        secret_file::write(&path, &content).unwrap();
        let opened = CertificateAuthority::load_or_create(directory.path(), "x", now());
        assert!(matches!(opened, Err(CaError::Damaged { .. })));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), content);
    }
}

#[test]
fn the_servers_decision_and_not_the_request_names_a_device() {
    let authority = authority();
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let mut greedy = CertificateParams::new(vec!["site.example.com".to_owned()]).unwrap();
    greedy.subject_alt_names.push(SanType::URI("waybill://hq/cap/c1".try_into().unwrap()));
    greedy.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    greedy.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    greedy.distinguished_name.push(DnType::CommonName, "admin");
    let csr = greedy.serialize_request(&key).unwrap().pem().unwrap();

    let issued = authority.issue_identity(&csr, &grant(Role::Client, "c1", &names(&[])), now()).unwrap();
    let (_, certificate) = x509_parser::parse_x509_certificate(&issued.der).unwrap();
    let alternative = certificate.subject_alternative_name().unwrap().unwrap();
    assert_eq!(alternative.value.general_names, [GeneralName::URI("waybill://hq/client/c1")]);
    assert!(!certificate.is_ca());
    let usage = certificate.extended_key_usage().unwrap().unwrap().value;
    assert!(usage.client_auth && !usage.server_auth && !usage.any);
    assert_eq!(certificate.subject().iter().count(), 0);
    assert_eq!(certificate.public_key().subject_public_key.data.as_ref(), key.public_key_raw());
}

#[test]
fn a_point_serves_under_the_names_it_was_granted() {
    let authority = authority();
    let csr = DeviceKey::generate().unwrap().csr_pem().unwrap();
    let granted = names(&["dp-1.example.com", "10.0.0.7"]);
    let issued = authority.issue_identity(&csr, &grant(Role::Dp, "dp-1", &granted), now()).unwrap();
    let identity = PeerIdentity::verified(&issued.der, authority.certificate_der(), now()).unwrap();
    assert_eq!(identity.uri(), "waybill://hq/dp/dp-1");
    assert_eq!(identity.not_after, issued.not_after);
    let (_, certificate) = x509_parser::parse_x509_certificate(&issued.der).unwrap();
    let alternative = certificate.subject_alternative_name().unwrap().unwrap();
    assert!(alternative.value.general_names.contains(&GeneralName::DNSName("dp-1.example.com")));
    assert!(alternative.value.general_names.contains(&GeneralName::IPAddress(&[10, 0, 0, 7])));
    let usage = certificate.extended_key_usage().unwrap().unwrap().value;
    assert!(usage.client_auth && usage.server_auth);
}

#[test]
fn requests_and_grants_that_make_no_sense_are_refused() {
    let authority = authority();
    let csr = DeviceKey::generate().unwrap().csr_pem().unwrap();
    let (none, some) = (names(&[]), names(&["a.example"]));
    let issue = |csr: &str, grant: &Grant<'_>| authority.issue_identity(csr, grant, now());
    assert!(matches!(issue(&csr, &grant(Role::Client, "c", &some)), Err(CaError::Names { .. })));
    assert!(matches!(issue(&csr, &grant(Role::Dp, "d", &none)), Err(CaError::Names { .. })));
    assert!(matches!(issue(&csr, &grant(Role::Cap, "c", &none)), Err(CaError::Names { .. })));
    assert!(matches!(issue(&csr, &grant(Role::Client, "a/b", &none)), Err(CaError::BadSubject(_))));
    assert!(matches!(issue("rubbish", &grant(Role::Client, "c", &none)), Err(CaError::BadRequest { .. })));
    let padded = format!("{csr}{}", " ".repeat(MAX_CSR_BYTES));
    assert!(matches!(issue(&padded, &grant(Role::Client, "c", &none)), Err(CaError::BadRequest { .. })));

    let ed25519 = KeyPair::from_pem(&pem_of(&SiteKey::generate().unwrap())).unwrap();
    let other_kind = CertificateParams::default().serialize_request(&ed25519).unwrap().pem().unwrap();
    assert!(matches!(issue(&other_kind, &grant(Role::Client, "c", &none)), Err(CaError::BadRequest { .. })));
    assert!(matches!(
        authority.issue_serving(&DeviceKey::generate().unwrap(), &none, now()),
        Err(CaError::BadRequest { .. })
    ));
}

fn pem_of(key: &SiteKey) -> String {
    let directory = tempfile::tempdir().unwrap();
    key.save(&directory.path().join("key")).unwrap();
    std::fs::read_to_string(directory.path().join("key")).unwrap()
}

#[test]
fn a_request_is_signed_by_its_own_key() {
    // The last bytes of a request are its signature: change one, and nobody holds the key that it shows.
    let authority = authority();
    let csr = DeviceKey::generate().unwrap().csr_pem().unwrap();
    let mut lines: Vec<String> = csr.lines().map(str::to_owned).collect();
    let last = lines.len() - 2;
    let first = lines[last].remove(0);
    lines[last].insert(0, if first == 'A' { 'B' } else { 'A' });
    let forged = lines.join("\n");
    let issued = authority.issue_identity(&forged, &grant(Role::Client, "c", &names(&[])), now());
    assert!(matches!(issued, Err(CaError::BadRequest { .. })));
}

#[test]
fn certificates_begin_in_the_past_and_half_of_their_life_lies_ahead() {
    let authority = authority();
    let csr = DeviceKey::generate().unwrap().csr_pem().unwrap();
    let none = names(&[]);
    for (lifetime_s, begins_s) in [(60, 6), (30 * 24 * 3600, 300)] {
        let grant = Grant { lifetime: Duration::from_secs(lifetime_s), ..grant(Role::Client, "c", &none) };
        let issued = authority.issue_identity(&csr, &grant, now()).unwrap();
        assert_eq!(issued.not_before, now() - Duration::from_secs(begins_s));
        assert_eq!(issued.not_after, now() + Duration::from_secs(lifetime_s));
        assert_eq!(lifetime(&issued.der).unwrap(), (issued.not_before, issued.not_after));
        assert!(renew_after(issued.not_before, issued.not_after) > now());
    }
}

#[test]
fn nothing_outlives_its_authority_and_serial_numbers_differ() {
    let authority = authority();
    let key = DeviceKey::generate().unwrap();
    let late = now() + CA_LIFETIME - DAY;
    let issued = authority.issue_serving(&key, &names(&["a.example"]), late).unwrap();
    assert_eq!(issued.not_after, authority.not_after);
    let serial = |issued: &Issued| x509_parser::parse_x509_certificate(&issued.der).unwrap().1.raw_serial().to_vec();
    let other = authority.issue_serving(&key, &names(&["a.example"]), late).unwrap();
    assert_ne!(serial(&issued), serial(&other));
    assert!(serial(&issued).len() == 16 && serial(&issued)[0] < 0x80);
}

#[test]
fn only_the_authoritys_own_certificates_in_their_time_are_believed() {
    let (authority, stranger) = (authority(), authority());
    let csr = DeviceKey::generate().unwrap().csr_pem().unwrap();
    let issued = authority.issue_identity(&csr, &grant(Role::Client, "c", &names(&[])), now()).unwrap();
    let later = now() + 2 * IDENTITY_LIFETIME;
    PeerIdentity::verified(&issued.der, authority.certificate_der(), now()).unwrap();
    assert!(PeerIdentity::verified(&issued.der, stranger.certificate_der(), now()).is_err());
    assert!(PeerIdentity::verified(&issued.der, authority.certificate_der(), later).is_err());
    PeerIdentity::verified_even_if_expired(&issued.der, authority.certificate_der()).unwrap();
    assert!(PeerIdentity::verified_even_if_expired(&issued.der, stranger.certificate_der()).is_err());
    let serving = authority.issue_serving(&DeviceKey::generate().unwrap(), &names(&["a.example"]), now()).unwrap();
    assert!(PeerIdentity::from_certificate(&serving.der).is_err(), "a listener is not a device");
}

#[test]
fn users_are_named_as_kubernetes_reads_them() {
    let authority = authority();
    let key = DeviceKey::generate().unwrap();
    let issued = authority.issue_user(&key, "admin", "waybill:admins", now()).unwrap();
    let user = UserIdentity::from_certificate(&issued.der).unwrap();
    assert_eq!((user.name.as_str(), user.groups), ("admin", vec!["waybill:admins".to_owned()]));
    assert_eq!(user.not_after, now() + USER_LIFETIME);
    assert!(PeerIdentity::from_certificate(&issued.der).is_err(), "a user is not a device");
    for name in ["", "a\nb", &"x".repeat(MAX_USER_NAME_BYTES + 1)] {
        assert!(matches!(authority.issue_user(&key, name, "g", now()), Err(CaError::BadUserName { .. })));
    }
}

#[test]
fn a_chain_is_the_certificate_and_its_authority() {
    let authority = authority();
    let serving = authority.issue_serving(&DeviceKey::generate().unwrap(), &names(&["a.example"]), now()).unwrap();
    let chain = identity::certificates(&serving.chain_pem).unwrap();
    assert_eq!((chain[0].as_ref(), chain[1].as_ref()), (&serving.der[..], authority.certificate_der()));
    assert!(identity::certificates("").is_err());
    assert!(identity::certificates(&serving.chain_pem.repeat(3)).is_err(), "at most {}", identity::MAX_CHAIN);
}
