//! A tree that somebody changes while it is read yields one instant of it, or nothing.

use std::sync::{
    atomic::{AtomicU64, Ordering::Relaxed},
    mpsc,
};

use super::*;

/// Large enough that a change often falls into the middle of reading one.
struct Moving {
    bytes: Vec<u8>,
    executable: bool,
    digest: Digest,
}

/// A tree that a thread keeps changing in single atomic steps. It notes the digest of every state before it brings it
/// about, so that a snapshot of any instant is among them.
struct Mutator<'a> {
    top: &'a Path,
    files: BTreeMap<String, Moving>,
    states: &'a Mutex<HashSet<Digest>>,
    random: u64,
}

impl Mutator<'_> {
    fn below(&mut self, end: u64) -> u64 {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) % end
    }

    fn note(&self) {
        let entry = |(path, file): (&String, &Moving)| Entry {
            path: path.parse().unwrap(),
            size_bytes: file.bytes.len() as u64,
            executable: file.executable,
            digest: file.digest,
        };
        let manifest = Manifest::new(self.files.iter().map(entry).collect()).unwrap();
        self.states.lock().unwrap().insert(manifest.digest());
    }

    fn step(&mut self) {
        let path = format!("d{}/f{}", self.below(3), self.below(6));
        let file = self.top.join(&path);
        let fill = vec![self.below(250) as u8; 8];
        let exists = self.files.contains_key(&path);
        match self.below(6) {
            // Overwrite in place with equal length, first the end and then the start: two states.
            0 | 1 if exists => {
                let end = self.files[&path].bytes.len() - fill.len();
                for at in [end, 0] {
                    let file = self.files.get_mut(&path).unwrap();
                    file.bytes[at..at + fill.len()].copy_from_slice(&fill);
                    file.digest = Digest::of(&file.bytes);
                    self.note();
                    fs::File::options()
                        .write(true)
                        .open(self.top.join(&path))
                        .unwrap()
                        .write_all_at(&fill, at as u64)
                        .unwrap();
                }
            }
            2 if exists => {
                self.files.remove(&path);
                self.note();
                fs::remove_file(file).unwrap();
            }
            3 if exists => {
                let executable = &mut self.files.get_mut(&path).unwrap().executable;
                *executable = !*executable;
                let mode = if *executable { 0o755 } else { 0o644 };
                self.note();
                fs::set_permissions(file, fs::Permissions::from_mode(mode)).unwrap();
            }
            4 if exists => {
                let target = format!("d{}/f{}", self.below(3), self.below(6));
                let moved = self.files.remove(&path).unwrap();
                self.files.insert(target.clone(), moved);
                self.note();
                fs::rename(file, self.top.join(target)).unwrap();
            }
            _ => {
                let bytes = fill.repeat(60_000 + self.below(40_000) as usize);
                let digest = Digest::of(&bytes);
                self.files.insert(path, Moving { bytes: bytes.clone(), executable: false, digest });
                self.note();
                let temporary = self.top.with_file_name("temporary");
                fs::write(&temporary, bytes).unwrap();
                fs::rename(temporary, file).unwrap();
            }
        }
    }
}

/// What the mutator does while a snapshot is taken. Attempts differ by what happens, not by how fast the machine is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meanwhile {
    /// Nothing: the tree has just moved and holds still.
    Still,
    /// One step after the other without a pause.
    Storm,
    /// Some steps, now and then, anywhere in the attempt or beside it.
    Now,
}

/// The number of attempts that are over; all of them once it is dropped, also by a failed assertion.
struct Over<'a>(&'a AtomicU64);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(u64::MAX, Relaxed);
    }
}

#[test]
fn each_snapshot_of_a_moving_tree_is_one_instant() {
    const ATTEMPTS: u64 = 200;
    let place = Place::new();
    for n in 0..3 {
        fs::create_dir(place.source().join(format!("d{n}"))).unwrap();
    }
    let states = Mutex::new(HashSet::new());
    let (over, snapshot_us) = (AtomicU64::new(0), AtomicU64::new(30_000));
    let top = place.source();
    let mut mutator = Mutator { top: &top, files: BTreeMap::new(), states: &states, random: 42 };
    mutator.note();
    (0..20).for_each(|_| mutator.step());
    let (mut taken, mut changed) = (Vec::new(), 0);
    std::thread::scope(|scope| {
        let (begin, begun) = mpsc::sync_channel(0);
        let (moved, has_moved) = mpsc::channel();
        let (over, snapshot_us) = (&over, &snapshot_us);
        scope.spawn(move || {
            for (attempt, meanwhile) in begun {
                (0..=mutator.below(10)).for_each(|_| mutator.step());
                moved.send(()).unwrap();
                while meanwhile != Meanwhile::Still && over.load(Relaxed) == attempt {
                    if meanwhile == Meanwhile::Now {
                        let pause = mutator.below(3 * snapshot_us.load(Relaxed));
                        std::thread::sleep(Duration::from_micros(pause));
                    }
                    mutator.step();
                }
            }
        });
        let all_over = Over(over);
        let mut previous = None;
        for attempt in 0..ATTEMPTS {
            let meanwhile = [Meanwhile::Still, Meanwhile::Storm, Meanwhile::Now][attempt as usize % 3];
            begin.send((attempt, meanwhile)).unwrap();
            has_moved.recv().unwrap();
            let directory = Dir::open(&place.source()).unwrap();
            let begun = Instant::now();
            let snapshot = snapshot_settling(directory, &place.library, previous.as_ref(), SHORT);
            all_over.0.store(attempt + 1, Relaxed);
            match snapshot {
                Ok(snapshot) => {
                    snapshot_us.store(begun.elapsed().as_micros() as u64, Relaxed);
                    taken.push(snapshot.manifest.digest());
                    previous = Some(snapshot.manifest);
                }
                Err(SnapshotError::Changed(_)) if meanwhile != Meanwhile::Still => changed += 1,
                Err(other) => panic!("{meanwhile:?}: {other}: {other:?}"),
            }
        }
    });
    let states = states.into_inner().unwrap();
    assert!(taken.iter().all(|digest| states.contains(digest)), "a snapshot is of no instant");
    assert_eq!(taken.len() + changed, ATTEMPTS as usize);
    assert!(taken.len() >= 50 && changed >= 10, "{} taken, {changed} refused", taken.len());
    let distinct: HashSet<_> = taken.iter().collect();
    assert!(distinct.len() >= 10, "the tree hardly moved: {} states", distinct.len());
    for digest in distinct {
        assert!(place.library.missing(&place.library.manifest(digest).unwrap()).is_empty());
    }
}
