//! Copies from the site to its points: the same job for the built-in and a joined one, and a copy that is cut off goes on
//! where it stopped. The line between site and point is the test's, so that it is slow and every byte is counted.

use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use serde_json::Value;

use super::{DECLARED, FLEET, has_joined, installed, locations, manifest_of, path_of, said};
use crate::world::World;

/// A file that takes a while on the line below.
const LARGE_BYTES: usize = 48 << 20;
/// What may be under way when a copy is cut off: the flow control's window and the buffers of two sockets.
const SLACK_BYTES: u64 = 8 << 20;

/// A line to the site that counts what comes from it, and takes its time.
struct Line {
    port: u16,
    from_site_bytes: Arc<AtomicU64>,
    pause_us: Arc<AtomicU64>,
}

impl Line {
    /// To this port of the machine; a pause after every piece of 64 KiB makes it slow.
    fn to(port: u16, pause: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let line = Self {
            port: listener.local_addr().unwrap().port(),
            from_site_bytes: Arc::default(),
            pause_us: Arc::new(AtomicU64::new(u64::try_from(pause.as_micros()).unwrap())),
        };
        let (counted, pause_us) = (line.from_site_bytes.clone(), line.pause_us.clone());
        thread::spawn(move || {
            for near in listener.incoming().flatten() {
                let Ok(far) = TcpStream::connect(("127.0.0.1", port)) else { continue };
                let (near_in, far_in) = (near.try_clone().unwrap(), far.try_clone().unwrap());
                let (counted, pause_us) = (counted.clone(), pause_us.clone());
                thread::spawn(move || pump(near_in, far, &AtomicU64::new(0), &AtomicU64::new(0)));
                thread::spawn(move || pump(far_in, near, &counted, &pause_us));
            }
        });
        line
    }

    fn bytes(&self) -> u64 {
        self.from_site_bytes.load(Ordering::Relaxed)
    }
}

fn pump(mut from: TcpStream, mut to: TcpStream, counted: &AtomicU64, pause_us: &AtomicU64) {
    let mut piece = vec![0; 64 << 10];
    while let Ok(count) = from.read(&mut piece) {
        if count == 0 || to.write_all(&piece[..count]).is_err() {
            break;
        }
        counted.fetch_add(count as u64, Ordering::Relaxed);
        thread::sleep(Duration::from_micros(pause_us.load(Ordering::Relaxed)));
    }
    let _ = from.shutdown(std::net::Shutdown::Both);
    let _ = to.shutdown(std::net::Shutdown::Both);
}

/// Bytes without a pattern that a disk or a line would know.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let words = (0..length / 8).flat_map(|_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.collect()
}

#[test]
fn a_copy_killed_in_the_middle_goes_on_where_it_stopped() {
    let mut world = World::new();
    world.start("site");
    world.join(&["dp"]);
    world.until("it has joined", |world| has_joined(world, "dp"));
    world.stop("dp");
    // From now on it talks to its site over the slow line.
    let line = Line::to(world.device_port(), Duration::from_millis(4));
    let file = world.path("dp/session.json");
    let mut session: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    session["endpoints"]["siteUrl"] = format!("https://127.0.0.1:{}", line.port).into();
    fs::write(&file, session.to_string()).unwrap();
    world.start("dp");

    let large = noise(LARGE_BYTES);
    world.write("packages/big/data.bin", &large);
    world.package("big", 1);
    world.until("half of it is on its way", |_| line.bytes() > LARGE_BYTES as u64 / 2);
    world.strike("dp");
    assert!(!locations(&world, "big").contains(&("dp".into(), 1, "Installed".into())));
    assert!(!world.published("dp", "big"), "nothing of it is visible before all of it is there");
    line.pause_us.store(0, Ordering::Relaxed);
    world.start("dp");
    world.until("both points hold it", |world| installed(world, "big", &[("dp", 1), ("main", 1)]));
    let sent = line.bytes();
    assert!(sent >= LARGE_BYTES as u64, "{sent}");
    assert!(sent < LARGE_BYTES as u64 + SLACK_BYTES, "{sent} bytes came for a file of {LARGE_BYTES}: it began anew");

    // The same job on both, each told once: copying begins, it is there.
    for point in ["main", "dp"] {
        let directory = path_of(&world, "big", 1, point);
        assert!(fs::read(directory.join("data.bin")).unwrap() == large, "{point}");
        assert_eq!(manifest_of(&directory), manifest_of(&path_of(&world, "big", 1, "main")));
        world.until("its messages", |world| said(world, point, &[2330]).len() == 1);
        let numbers: Vec<_> = said(&world, point, &[2328, 2329, 2330, 2331]).into_iter().map(|(id, _)| id).collect();
        assert_eq!(numbers, [2329, 2330], "{point}");
    }
    let package = world.ask("GET", &format!("{DECLARED}/packages/big"), None);
    let mut jobs = Vec::new();
    for job in world.list(&format!("{FLEET}/namespaces/default/distributionjobs")) {
        let of = |field: &str| job["status"][field].as_str().unwrap_or_default().to_owned();
        assert_eq!(job["status"]["content"], package["status"]["digest"]);
        jobs.push((of("distributionPoint"), of("distribute"), of("state")));
    }
    jobs.sort();
    let done = |point: &str| (point.to_owned(), "Complete".to_owned(), "Complete".to_owned());
    assert_eq!(jobs, [done("dp"), done("main")]);
}
