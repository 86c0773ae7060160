//! Joining with real keys and certificates: what a machine believes of an answer, and who gets an old id back.

use std::time::Duration;

use super::*;
use crate::trust::ca::{CertificateAuthority, Grant, IDENTITY_LIFETIME};
use crate::trust::keys::SiteKey;
use crate::trust::names::ServerNames;

fn now() -> Timestamp {
    "2026-11-21T08:00:00Z".parse().unwrap()
}

struct Site {
    ca: CertificateAuthority,
    key: SiteKey,
}

impl Site {
    fn new() -> Self {
        Self { ca: CertificateAuthority::create("devices", now()).unwrap(), key: SiteKey::generate().unwrap() }
    }

    fn join_file(&self) -> JoinFile {
        JoinFile {
            url: "https://site.example:8444".into(),
            ca_sha256: self.ca.fingerprint(),
            secret: JoinSecret::generate().unwrap(),
            role: Role::Client,
            site: "hq".into(),
            expires: now() + Duration::from_secs(3600),
        }
    }

    fn certificate(&self, key: &DeviceKey, role: Role, at: Timestamp) -> String {
        let names: &[&str] = if role == Role::Client { &[] } else { &["point.example"] };
        let names = ServerNames::parse(names).unwrap();
        let grant = Grant { site_id: "hq", role, id: "c-1", names: &names, lifetime: IDENTITY_LIFETIME };
        self.ca.issue_identity(&key.csr_pem().unwrap(), &grant, at).unwrap().chain_pem
    }

    fn answer(&self, key: &DeviceKey) -> EnrolAnswer {
        EnrolAnswer {
            name: None,
            id: "c-1".into(),
            certificate_pem: self.certificate(key, Role::Client, now()),
            ca_pem: self.ca.certificate_pem().into(),
            site_id: "hq".into(),
            signing_keys: TrustedKeys::from_iter([self.key.public()]),
            endpoints: Endpoints::default(),
            epoch: 1,
        }
    }
}

fn request(key: &DeviceKey) -> EnrolRequest {
    EnrolRequest {
        secret: JoinSecret::generate().unwrap(),
        role: Role::Client,
        csr_pem: key.csr_pem().unwrap(),
        hostname: "pc-7".into(),
        advertised_names: Vec::new(),
        rejoin: None,
    }
}

#[test]
fn a_join_file_survives_its_text_form_and_nothing_else_is_one() {
    let file = Site::new().join_file();
    let json = serde_json::to_vec(&file).unwrap();
    assert_eq!(JoinFile::decode(&json).unwrap(), file);
    assert!(!format!("{file:?}").contains(file.secret.expose()));
    assert!(matches!(JoinFile::decode(b"{}"), Err(EnrolError::NotAJoinFile(_))));
    let at_limit = [json.clone(), vec![b' '; JOIN_FILE_BYTES_MAX - json.len()]].concat();
    assert!(JoinFile::decode(&at_limit).is_ok());
    assert!(matches!(JoinFile::decode(&[at_limit, vec![b' ']].concat()), Err(EnrolError::TooLarge { .. })));
}

#[test]
fn an_answer_is_believed_only_if_it_fits_the_join_file() {
    let (site, other) = (Site::new(), Site::new());
    let (join, key) = (site.join_file(), DeviceKey::generate().unwrap());
    let answer = site.answer(&key);
    assert_eq!(answer.check(&join, now()).unwrap().uri(), "waybill://hq/client/c-1");

    assert!(other.answer(&key).check(&join, now()).is_err(), "another authority");
    let mixed = EnrolAnswer { ca_pem: site.ca.certificate_pem().into(), ..other.answer(&key) };
    assert!(mixed.check(&join, now()).is_err(), "a certificate of another authority");
    let as_point = EnrolAnswer { certificate_pem: site.certificate(&key, Role::Dp, now()), ..answer.clone() };
    assert!(as_point.check(&join, now()).is_err(), "another role");
    assert!(EnrolAnswer { id: "c-2".into(), ..answer.clone() }.check(&join, now()).is_err(), "another id");
    assert!(EnrolAnswer { site_id: "branch".into(), ..answer.clone() }.check(&join, now()).is_err());
    let keyless = EnrolAnswer { signing_keys: TrustedKeys::default(), ..answer.clone() };
    assert!(keyless.check(&join, now()).is_err());
    assert!(answer.check(&join, now() + 2 * IDENTITY_LIFETIME).is_err(), "an expired certificate");
}

#[test]
fn the_holder_of_an_old_key_gets_its_id_back_even_after_expiry() {
    let site = Site::new();
    let (old, new) = (DeviceKey::generate().unwrap(), DeviceKey::generate().unwrap());
    let long_ago = now() - 10 * IDENTITY_LIFETIME;
    // The authority of this test began today; an older certificate is of an authority that was there then.
    let site = Site { ca: CertificateAuthority::create("devices", long_ago).unwrap(), ..site };
    let expired = site.certificate(&old, Role::Client, long_ago);
    let request = request(&new).rejoining(&old, &expired).unwrap();
    let proven = request.proven_identity(site.ca.certificate_der()).unwrap().unwrap();
    assert_eq!(proven.id, "c-1");
    assert!(proven.expired(now()));

    let json = serde_json::to_vec(&request).unwrap();
    assert_eq!(serde_json::from_slice::<EnrolRequest>(&json).unwrap(), request);
    assert!(json.len() < ENROL_REQUEST_BYTES_MAX);
}

#[test]
fn an_old_id_is_not_for_thieves() {
    let (site, other) = (Site::new(), Site::new());
    let (owner, thief) = (DeviceKey::generate().unwrap(), DeviceKey::generate().unwrap());
    let certificate = site.certificate(&owner, Role::Client, now());
    let ca = site.ca.certificate_der();
    assert_eq!(request(&owner).proven_identity(ca).unwrap(), None, "who claims nothing proves nothing");

    let without_key = request(&thief).rejoining(&thief, &certificate).unwrap();
    assert!(matches!(without_key.proven_identity(ca), Err(EnrolError::BadProof(_))));

    let honest = request(&owner).rejoining(&owner, &certificate).unwrap();
    let stolen = EnrolRequest { rejoin: honest.rejoin.clone(), ..request(&thief) };
    assert!(matches!(stolen.proven_identity(ca), Err(EnrolError::BadProof(_))), "a proof is for one request");

    let foreign = other.certificate(&owner, Role::Client, now());
    let foreign = request(&owner).rejoining(&owner, &foreign).unwrap();
    assert!(matches!(foreign.proven_identity(ca), Err(EnrolError::Certificate(_))), "another site's device");

    let point = site.certificate(&owner, Role::Dp, now());
    let point = request(&owner).rejoining(&owner, &point).unwrap();
    assert!(matches!(point.proven_identity(ca), Err(EnrolError::OtherRole { .. })));
}
