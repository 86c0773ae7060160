//! A distribution point with a valid certificate of the site that delivers something else than was signed, or never
//! ends. Nothing of it is executed or kept, and the agent takes the content from another point.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{
    body::{Body, Bytes},
    extract::Request,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use futures::{StreamExt, stream};
use waybill::{
    model::state::RunState,
    trust::identity::Role,
    wire::access::{DP_FILE_PATH, DP_MANIFEST_PATH},
};

use crate::agent::{
    machine::Machine,
    site::{Evil, Site, assigned, program, record},
};

/// How a point betrays: the route, how often the agent complains at least (never more than once), and what it answers
/// there instead of the file's bytes.
type Betrayal = (&'static str, &'static str, usize, fn(&Request, &[u8]) -> Response);

/// Longer than the buffers on the way, so that halves of it are seen.
const FILE_BYTES: usize = 300_000;

const BETRAYALS: &[Betrayal] = &[
    ("other bytes", DP_FILE_PATH, 1, |_, file| file.iter().map(|byte| byte ^ 1).collect::<Vec<_>>().into_response()),
    ("more bytes", DP_FILE_PATH, 0, |_, file| [file, b"\nrm -rf /\n"].concat().into_response()),
    ("fewer bytes", DP_FILE_PATH, 0, |_, file| file[..file.len() - 1].to_vec().into_response()),
    ("no bytes", DP_FILE_PATH, 0, |_, _| StatusCode::OK.into_response()),
    ("bytes without an end", DP_FILE_PATH, 0, |_, file| {
        let chunk = Bytes::copy_from_slice(file);
        Body::from_stream(stream::repeat(Ok::<_, Infallible>(chunk))).into_response()
    }),
    ("the wrong range", DP_FILE_PATH, 0, |request, file| {
        if request.headers().contains_key(header::RANGE) {
            // From the beginning, whatever was asked for.
            return (StatusCode::PARTIAL_CONTENT, file.to_vec()).into_response();
        }
        let half = Ok(Bytes::copy_from_slice(&file[..file.len() / 2]));
        let cut = Err(std::io::Error::other("cut"));
        // Some time between them, or the half is not even sent.
        let later = stream::once(async {
            tokio::time::sleep(std::time::Duration::from_millis(300)).await;
            cut
        });
        Body::from_stream(stream::iter([half]).chain(later)).into_response()
    }),
    ("compressed bytes", DP_FILE_PATH, 0, |_, file| {
        use std::io::Write;
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        gzip.write_all(file).unwrap();
        ([(header::CONTENT_ENCODING, "gzip")], gzip.finish().unwrap()).into_response()
    }),
    ("elsewhere", DP_FILE_PATH, 0, |_, _| {
        (StatusCode::FOUND, [(header::LOCATION, "https://127.0.0.1:1/x")]).into_response()
    }),
    ("an error", DP_FILE_PATH, 0, |_, _| StatusCode::INTERNAL_SERVER_ERROR.into_response()),
    ("names that lead out", DP_MANIFEST_PATH, 1, |_, file| {
        let digest = waybill::content::Digest::of(file);
        let entry = |path: &str| {
            format!(r#"{{"path":"{path}","bytes":{},"executable":true,"sha256":"{}"}}"#, file.len(), digest.hex())
        };
        let entries: Vec<_> = ["../../escaped", "/escaped", "a/../../escaped", "ok/link"].map(entry).into();
        format!(r#"{{"version":1,"entries":[{}]}}"#, entries.join(",")).into_response()
    }),
    ("a manifest without an end", DP_MANIFEST_PATH, 0, |_, _| {
        Body::from_stream(stream::repeat(Ok::<_, Infallible>(Bytes::from_static(&[b' '; 64 << 10])))).into_response()
    }),
];

fn betrayed(betrayal: &'static Betrayal) {
    let (name, path, complaints, answer) = betrayal;
    let place = tempfile::tempdir().unwrap();
    let marks = place.path().join("runs");
    let mut script = format!("#!/bin/sh\necho run >> {}\nexit 0\n", marks.display());
    script.push_str(&"#".repeat(FILE_BYTES - script.len()));
    let mut site = Site::start();
    let asked = Arc::new(AtomicUsize::new(0));
    let evil: Evil = {
        let (file, asked) = (script.clone().into_bytes(), asked.clone());
        Arc::new(move |request| {
            if !request.uri().path().starts_with(path) {
                return None;
            }
            asked.fetch_add(1, Ordering::Relaxed);
            Some(answer(request, &file))
        })
    };
    let traitor = site.impostor(Role::Dp, evil);
    let content = site.publish(&[("install.sh", &script)], &[&traitor]);
    let record = site.record(&record(Some(content), vec![program("install", &["install.sh"])]));
    site.offer(&[assigned("all", "install", record)]);
    let machine = Machine::of(&site);
    let failed = |state: &RunState| matches!(state, RunState::ContentMismatch | RunState::Retrying);
    machine.eventually(name, || site.states("all").iter().any(failed).then_some(()));
    assert!(asked.load(Ordering::Relaxed) > 0, "{name}");
    assert!(!marks.exists(), "{name}: it ran");
    if *complaints > 0 {
        machine.eventually(name, || (!site.received().complaints.is_empty()).then_some(()));
    }
    site.publish(&[("install.sh", &script)], &[&traitor, ""]);
    site.offer(&[assigned("all", "install", record), assigned("more", "install", record)]);
    machine.eventually(name, || site.states("all").contains(&RunState::Succeeded).then_some(()));
    assert_eq!(std::fs::read_to_string(&marks).unwrap().lines().count(), 1, "{name}");
    let complained = site.received().complaints.len();
    assert!((*complaints..=1).contains(&complained), "{name}: {complained} complaints");
    for outside in [place.path().join("escaped"), machine.file("escaped"), machine.state().join("escaped")] {
        assert!(!outside.exists(), "{name}: {}", outside.display());
    }
}

#[test]
fn a_treacherous_distribution_point_is_left_for_an_honest_one() {
    std::thread::scope(|scope| {
        let all: Vec<_> = BETRAYALS.iter().map(|one| (one.0, scope.spawn(|| betrayed(one)))).collect();
        let failed: Vec<_> = all.into_iter().filter_map(|(name, done)| done.join().is_err().then_some(name)).collect();
        assert!(failed.is_empty(), "{failed:?}");
    });
}
