//! How many bytes a site's process moves for one package on its built-in point. How long that takes, `bench/` measures.

use std::fs;

use crate::{kinds::count, world::World};

/// Size of the package's one large file: everything else that is read and written meanwhile is small beside it.
const SIZE: u64 = 128 << 20;
/// What may come on top: databases, logs, the script.
const SMALL: u64 = SIZE / 8;

/// Bytes that a process has read and written by system calls, from caches or not.
fn moved(pid: u32) -> (u64, u64) {
    let io = fs::read_to_string(format!("/proc/{pid}/io")).unwrap();
    let of = |name: &str| io.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().parse::<u64>().unwrap();
    (of("rchar:"), of("wchar:"))
}

#[test]
fn a_package_is_written_once_for_the_library_and_once_for_the_point() {
    let mut world = World::new();
    world.start("site");
    world.script("p", 1, "");
    let mut data = vec![0; usize::try_from(SIZE).unwrap()];
    for (at, block) in data.chunks_mut(4096).enumerate() {
        block[..8].copy_from_slice(&at.to_le_bytes());
    }
    world.write("packages/p/data", data);
    let before = moved(world.pid("site"));
    world.declare("p");
    let installed = "SELECT count(*) FROM locations WHERE state = 'Installed'";
    world.until("it is published", |world| count(world, installed) == 1);
    let after = moved(world.pid("site"));
    let (read, written) = (after.0 - before.0, after.1 - before.1);
    assert!((2 * SIZE..2 * SIZE + SMALL).contains(&written), "{written} bytes written");
    // the source, the copy in the library, what is published from it, and the copy on the point: each is read and verified
    assert!((2 * SIZE..4 * SIZE + SMALL).contains(&read), "{read} bytes read");
}
