//! The image's bytes follow from the program alone, and every document of it names the next one by its true digest. The program
//! here is a stand-in: building the real one takes minutes, and containerd's own opinion is the node's test.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// The user that the image runs as.
const USER: &str = "65532/65532";

/// As much of an ELF header as says that it is for x86-64, and something that compresses to nothing.
fn stand_in(path: &Path) {
    let mut program = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0".to_vec();
    program.resize(100_000, b'x');
    fs::write(path, program).unwrap();
}

fn pack(umask: &str, zone: &str, program: &Path, image: &Path) -> Output {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("image/pack");
    let mut command = Command::new("/bin/sh");
    command.args(["-c", &format!("umask {umask}; exec \"$0\" \"$@\"")]).arg(script).args([program, image]);
    command.env("TZ", zone).output().unwrap()
}

fn packed(umask: &str, zone: &str, program: &Path, image: &Path) -> String {
    let output = pack(umask, zone, program, image);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn one_program_packed_twice_is_one_image() {
    let scratch = tempfile::tempdir().unwrap();
    let (first, second) = (scratch.path().join("first"), scratch.path().join("another place"));
    let mut images = Vec::new();
    for (place, umask, zone, seconds) in [(&first, "022", "UTC", 1), (&second, "077", "Asia/Tokyo", 1_000_000_000)] {
        fs::create_dir(place).unwrap();
        let (program, image) = (place.join("program"), place.join("image.tar"));
        stand_in(&program);
        let modified = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
        fs::File::options().write(true).open(&program).unwrap().set_modified(modified).unwrap();
        images.push((packed(umask, zone, &program, &image), fs::read(&image).unwrap()));
    }
    assert_eq!(images[0].0, images[1].0, "the digests differ");
    assert!(images[0].1 == images[1].1, "the files differ");

    let mut longer = fs::read(first.join("program")).unwrap();
    longer.push(b'y');
    fs::write(first.join("program"), longer).unwrap();
    assert_ne!(packed("022", "UTC", &first.join("program"), &first.join("image.tar")), images[0].0, "another program");
}

/// An image, unpacked into a scratch directory.
struct Unpacked {
    scratch: tempfile::TempDir,
    digest: String,
}

impl Unpacked {
    fn new() -> Unpacked {
        let scratch = tempfile::tempdir().unwrap();
        let (program, image) = (scratch.path().join("program"), scratch.path().join("image.tar"));
        stand_in(&program);
        let digest = packed("022", "UTC", &program, &image);
        let status = Command::new("tar").arg("-xf").arg(&image).arg("-C").arg(scratch.path()).status().unwrap();
        assert!(status.success());
        Unpacked { scratch, digest }
    }

    fn json(&self, name: &str) -> Value {
        serde_json::from_slice(&fs::read(self.scratch.path().join(name)).unwrap()).unwrap()
    }

    /// The blob that a descriptor names, after holding it against what the descriptor says of it.
    fn blob(&self, descriptor: &Value) -> PathBuf {
        let digest = descriptor["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
        let path = self.scratch.path().join("blobs/sha256").join(digest);
        let bytes = fs::read(&path).unwrap();
        assert_eq!(descriptor["size"].as_u64(), Some(bytes.len() as u64));
        let is: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(is, digest);
        path
    }
}

#[test]
fn every_document_names_the_next_and_the_program_runs_as_nobody() {
    let unpacked = Unpacked::new();
    assert_eq!(unpacked.json("oci-layout")["imageLayoutVersion"], "1.0.0");
    let index = unpacked.json("index.json");
    let descriptor = &index["manifests"][0];
    assert_eq!(descriptor["digest"], unpacked.digest.as_str());
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(descriptor["annotations"]["io.containerd.image.name"], format!("localhost/waybill:{version}"));
    let manifest: Value = serde_json::from_slice(&fs::read(unpacked.blob(descriptor)).unwrap()).unwrap();
    let config: Value = serde_json::from_slice(&fs::read(unpacked.blob(&manifest["config"])).unwrap()).unwrap();
    assert_eq!(config["config"]["User"], USER.replace('/', ":"));
    assert_eq!(config["config"]["Entrypoint"], serde_json::json!(["/waybill"]));
    assert_eq!(config["config"]["Labels"]["org.opencontainers.image.version"], version);
    assert_eq!(config["architecture"], "amd64");
    // An uncompressed layer: what is stored and what it unpacks to are one.
    assert_eq!(config["rootfs"]["diff_ids"], serde_json::json!([manifest["layers"][0]["digest"]]));
    assert_eq!(manifest["layers"].as_array().unwrap().len(), 1);

    let layer = unpacked.blob(&manifest["layers"][0]);
    let listed = Command::new("tar").args(["--numeric-owner", "-tvf"]).arg(layer).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let entries: Vec<(&str, &str, &str)> = listed
        .lines()
        .map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            (words[0], words[1], words[5])
        })
        .collect();
    assert_eq!(
        entries,
        [
            ("drwxr-xr-x", "0/0", "sources/"),
            ("drwxr-xr-x", "0/0", "var/"),
            ("drwxr-xr-x", "0/0", "var/lib/"),
            ("-rwxr-xr-x", "0/0", "waybill"),
            ("drwx------", USER, "var/lib/waybill/"),
        ]
    );
}

#[test]
fn what_is_no_linux_program_is_refused() {
    let scratch = tempfile::tempdir().unwrap();
    let (program, image) = (scratch.path().join("program"), scratch.path().join("image.tar"));
    fs::write(&program, "#!/bin/sh\nexit 0 # long enough to hold a header\n").unwrap();
    let output = pack("022", "UTC", &program, &image);
    assert!(!output.status.success() && String::from_utf8_lossy(&output.stderr).contains("no Linux program"));
    assert!(!image.exists());
}
