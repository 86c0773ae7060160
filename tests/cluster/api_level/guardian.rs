//! Nothing stays behind: a small process of its own that outlives the tests, and then ends whatever runs in the scratch directory
//! and removes it. It learns of their end by a pipe that closes, so it makes no difference whether they passed, failed or were
//! killed. Does not start anything.

use std::{
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, Command, Stdio},
};

/// Ends processes by the directory they run in: no list of pids to keep, so also children of children, and one that was started
/// just before the tests were killed. Twice around: a process may start another while it is looked for.
const SCRIPT: &str = r#"
cat >/dev/null
found=1
while [ "$found" ]; do
  found=
  for process in /proc/[0-9]*; do
    case $(readlink "$process/cwd" 2>/dev/null) in
      "$1" | "$1"/*) kill -KILL "${process#/proc/}" 2>/dev/null && found=1 ;;
    esac
  done
done
if [ -f "$1/at-the-end" ]; then sh "$1/at-the-end" "$1"; fi
rm -rf -- "$1"
"#;

/// A script of this name in the directory is run, with the directory, when nothing runs in there any more: for what the kernel
/// keeps elsewhere.
pub(crate) const AT_THE_END: &str = "at-the-end";

/// The guardian of one directory. Dropped, it waits until everything is gone.
pub(crate) struct Guardian(Child);

impl Guardian {
    /// Starts watching over `directory`, which is absolute and without symbolic links, as the kernel names it.
    pub(crate) fn of(directory: &Path) -> std::io::Result<Guardian> {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", SCRIPT, "guardian"]).arg(directory).current_dir("/");
        // A group of its own: Ctrl-C goes to the tests, and by their end to here.
        command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::null());
        command.spawn().map(Guardian)
    }
}

impl Drop for Guardian {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}
