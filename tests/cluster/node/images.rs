//! Images for the node, without a registry: packed here by the script that packs the product's own, and imported.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::{Node, settings};

/// All that a sandbox has to do.
const PAUSE_SOURCE: &str = "#include <unistd.h>\nint main(void) { for (;;) pause(); }\n";

impl Node {
    /// Makes the image of sandboxes known; without it no pod starts.
    pub(super) fn import_pause(&self) -> Result<(), String> {
        let program = self.directory.join("pause");
        let mut compiler = Command::new("cc");
        compiler.args(["-static", "-O1", "-x", "c", "-", "-o"]).arg(&program).stdin(Stdio::piped());
        let mut compiler = compiler.spawn().map_err(|error| format!("cc: {error}"))?;
        compiler.stdin.take().unwrap().write_all(PAUSE_SOURCE.as_bytes()).map_err(|error| format!("cc: {error}"))?;
        if !compiler.wait().is_ok_and(|status| status.success()) {
            return Err("cc cannot build a static program: is libc.a there?".to_owned());
        }
        self.import(&pack(&program, &self.directory, settings::PAUSE)?)
    }

    /// Makes the image in this file known under the name that is in it.
    pub(crate) fn import(&self, image: &Path) -> Result<(), String> {
        let mut command = self.command("ctr");
        command.arg("--address").arg(self.directory.join(settings::SOCKET));
        command.args(["--namespace=k8s.io", "images", "import"]).arg(image);
        super::succeed(command).map(drop)
    }
}

/// Packs a program as an image of this name; where it lies.
pub(crate) fn pack(program: &Path, directory: &Path, name: &str) -> Result<PathBuf, String> {
    let image = directory.join("image.tar");
    let mut command = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("image/pack"));
    command.arg(program).arg(&image).arg(name);
    super::succeed(command)?;
    Ok(image)
}
