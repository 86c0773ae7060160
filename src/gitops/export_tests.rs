//! Exports of real repositories: what a private directory of one commit holds, and what is kept out of it.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    process::Command,
    sync::Arc,
};

use super::{
    export::{ExportError, Exports},
    git::{CommitId, GitError, Repository},
};

use crate::content::stand_in::StandIn;

/// A scratch repository driven by the ordinary git program.
struct Scratch {
    directory: tempfile::TempDir,
}

impl Scratch {
    fn new() -> Self {
        let scratch = Self { directory: tempfile::tempdir().unwrap() };
        scratch.git(&["init", "--quiet", "--initial-branch=main"]);
        scratch
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn git(&self, arguments: &[&str]) -> String {
        self.git_with_input(arguments, "")
    }

    fn git_with_input(&self, arguments: &[&str], input: &str) -> String {
        use std::io::Write;
        let mut child = Command::new("git")
            .args(["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false"])
            .args(arguments)
            .current_dir(self.path())
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn commit(&self) -> CommitId {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--allow-empty", "--message=c"]);
        CommitId::parse(&self.git(&["rev-parse", "HEAD"])).unwrap()
    }
}

fn exports() -> (tempfile::TempDir, Exports) {
    let state = tempfile::tempdir().unwrap();
    let exports = Exports::open(&state.path().join("sync")).unwrap();
    (state, exports)
}

fn read(root: &Path, path: &str) -> String {
    fs::read_to_string(root.join(path)).unwrap()
}

#[tokio::test]
async fn an_uncommitted_edit_changes_nothing() {
    let scratch = Scratch::new();
    scratch.write("a.yaml", "committed");
    scratch.write("bin/run", "#!/bin/sh\n");
    fs::set_permissions(scratch.path().join("bin/run"), PermissionsExt::from_mode(0o755)).unwrap();
    let commit = scratch.commit();
    scratch.write("a.yaml", "edited");
    scratch.write("new.yaml", "new");

    let (_state, exports) = exports();
    let repository = Repository::open(scratch.path()).await.unwrap();
    assert_eq!(repository.branch_head("main").await.unwrap(), commit);
    assert_eq!(repository.current_branch().await.unwrap().as_deref(), Some("main"));
    let export = exports.export(&repository, &commit, None).await.unwrap();
    assert_eq!(read(&export.root, "a.yaml"), "committed");
    assert!(!export.root.join("new.yaml").exists());
    let mode = |path: &str| fs::metadata(export.root.join(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("a.yaml"), mode("bin/run")), (0o444, 0o555));
    assert_eq!(fs::metadata(&export.root).unwrap().permissions().mode() & 0o777, 0o700);
}

#[tokio::test]
async fn exports_stay_while_held_and_leave_each_other_alone() {
    use std::os::unix::fs::MetadataExt;
    let scratch = Scratch::new();
    scratch.write("same", "same");
    scratch.write("changes", "1");
    let first = scratch.commit();
    let (_state, exports) = exports();
    let repository = Repository::open(scratch.path()).await.unwrap();
    let one = exports.export(&repository, &first, None).await.unwrap();
    let stamp = |root: &Path| {
        let at = fs::metadata(root.join("same")).unwrap();
        (at.ino(), at.ctime(), at.ctime_nsec(), at.nlink(), at.mode())
    };
    let before = stamp(&one.root);

    scratch.write("changes", "2");
    let second = scratch.commit();
    let two = exports.export(&repository, &second, Some(one.clone())).await.unwrap();
    assert_eq!((read(&one.root, "changes"), read(&two.root, "changes")), ("1".to_owned(), "2".to_owned()));
    assert_eq!(read(&two.root, "same"), "same");
    assert_ne!(stamp(&one.root).0, stamp(&two.root).0, "a shared inode would share its damage");
    assert_eq!(stamp(&one.root), before, "a later export changes nothing about an earlier one");

    exports.clean().await.unwrap();
    assert!(one.root.exists() && two.root.exists());
    assert!(Arc::ptr_eq(&one, &exports.export(&repository, &first, None).await.unwrap()));
    let gone = one.root.clone();
    drop(one);
    let mut clean = std::pin::pin!(exports.clean());
    assert!(futures::poll!(&mut clean).is_pending(), "trees are not removed on a thread that answers requests");
    clean.await.unwrap();
    assert!(!gone.exists() && two.root.exists());
}

#[tokio::test]
async fn a_directory_is_named_by_what_it_holds_whatever_else_a_commit_changes() {
    let scratch = Scratch::new();
    let (_exports_directory, exports) = exports();
    let repository = Repository::open(scratch.path()).await.unwrap();
    let trees = async |previous| {
        let export = exports.export(&repository, &scratch.commit(), previous).await.unwrap();
        let of = |path: &str| export.tree(Path::new(path)).map(str::to_owned);
        assert_eq!((of("./a/deep/"), of(".."), of("a/one"), of("none")), (of("a/deep"), None, None, None));
        (export.clone(), of("a").unwrap(), of("b").unwrap())
    };
    scratch.write("a/one", "1");
    scratch.write("a/deep/er", "1");
    scratch.write("b/one", "1");
    let (first, a, b) = trees(None).await;
    scratch.write("b/one", "2");
    let (second, a_after, b_after) = trees(Some(first)).await;
    assert_eq!(a, a_after);
    assert_ne!(b, b_after);
    scratch.write("a/deep/er", "2");
    let (_, a_last, b_last) = trees(Some(second)).await;
    assert_eq!(b_last, b_after);
    assert_ne!(a_last, a);
}

#[tokio::test]
async fn a_subdirectory_of_a_repository_is_exported_alone() {
    let scratch = Scratch::new();
    scratch.write("fleet/a.yaml", "a");
    scratch.write("secret/b", "b");
    let commit = scratch.commit();
    let (_state, exports) = exports();
    let repository = Repository::open(&scratch.path().join("fleet")).await.unwrap();
    let export = exports.export(&repository, &commit, None).await.unwrap();
    assert_eq!(read(&export.root, "a.yaml"), "a");
    assert!(!export.root.join("secret").exists() && !export.root.join("fleet").exists());
}

#[tokio::test]
async fn commits_made_while_exporting_mix_nothing() {
    let scratch = Scratch::new();
    let round = |scratch: &Scratch, n: usize| {
        for file in 0..20 {
            scratch.write(&format!("d{}/f{file}", file % 3), &format!("{n}\n"));
        }
        scratch.commit()
    };
    round(&scratch, 0);
    let repository = Repository::open(scratch.path()).await.unwrap();
    let (_state, exports) = exports();
    let mutator = std::thread::spawn(move || {
        for n in 1..30 {
            round(&scratch, n);
        }
        scratch
    });
    let (mut seen, mut previous) = (std::collections::BTreeSet::new(), None);
    while !mutator.is_finished() {
        let head = repository.branch_head("main").await.unwrap();
        let export = exports.export(&repository, &head, previous.take()).await.unwrap();
        let contents: std::collections::BTreeSet<String> =
            (0..20).map(|file| read(&export.root, &format!("d{}/f{file}", file % 3))).collect();
        assert_eq!(contents.len(), 1, "{contents:?}");
        seen.extend(contents);
        previous = Some(export);
    }
    mutator.join().unwrap();
    assert!(seen.len() > 2, "the mutator was not interleaved: {seen:?}");
}

#[tokio::test]
async fn nothing_of_a_hostile_repository_is_executed() {
    let scratch = Scratch::new();
    let trap = scratch.path().join("trap.sh");
    let sprung = scratch.path().join("sprung");
    fs::write(&trap, format!("#!/bin/sh\ntouch {}\n", sprung.display())).unwrap();
    fs::set_permissions(&trap, PermissionsExt::from_mode(0o755)).unwrap();
    let trap = trap.to_str().unwrap();
    scratch.write(".gitattributes", "* filter=evil diff=evil export-subst\nsub ident\n");
    scratch.write("file.txt", "as committed $Format:%H$\r\n");
    let commit = scratch.commit();
    for (name, value) in [
        ("filter.evil.smudge", trap),
        ("filter.evil.clean", trap),
        ("filter.evil.process", trap),
        ("filter.evil.required", "true"),
        ("diff.evil.textconv", trap),
        ("core.fsmonitor", trap),
        ("core.hooksPath", scratch.path().to_str().unwrap()),
        ("core.sshCommand", trap),
        ("core.pager", trap),
        ("core.askPass", trap),
        ("core.gitProxy", trap),
        ("core.alternateRefsCommand", trap),
        ("uploadpack.packObjectsHook", trap),
        ("credential.helper", trap),
        ("protocol.ext.allow", "always"),
        ("remote.evil.url", &format!("ext::{trap}")),
        ("remote.evil.promisor", "true"),
        ("extensions.partialClone", "evil"),
        ("core.repositoryFormatVersion", "1"),
        ("alias.ls-tree", &format!("!{trap}")),
        ("core.autocrlf", "true"),
    ] {
        scratch.git(&["config", name, value]);
    }
    for hook in ["post-checkout", "reference-transaction", "post-index-change", "fsmonitor-watchman"] {
        symlink(trap, scratch.path().join(".git/hooks").join(hook)).unwrap();
    }

    let (_state, exports) = exports();
    let repository = Repository::open(scratch.path()).await.unwrap();
    repository.branch_head("main").await.unwrap();
    let export = exports.export(&repository, &commit, None).await.unwrap();
    assert_eq!(read(&export.root, "file.txt"), "as committed $Format:%H$\r\n");

    // A missing blob must not make git fetch it from the "promisor".
    let blob = scratch.git_with_input(&["hash-object", "-w", "--no-filters", "--stdin"], "lost");
    let tree = scratch.git_with_input(&["mktree"], &format!("100644 blob {blob}\tlost\n"));
    let lost = scratch.git(&["commit-tree", &tree, "-m", "lost"]);
    fs::remove_file(scratch.path().join(".git/objects").join(&blob[..2]).join(&blob[2..])).unwrap();
    let refused = exports.export(&repository, &CommitId::parse(&lost).unwrap(), None).await;
    assert!(matches!(refused, Err(ExportError::MissingFile { .. })), "{refused:?}");
    assert!(!sprung.exists(), "something of the repository was executed");
}

#[tokio::test]
async fn links_submodules_and_lfs_pointers_are_named_and_cannot_be_read_through() {
    let scratch = Scratch::new();
    scratch.write("package/real", "real");
    scratch.write("package/big.iso", "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n");
    symlink("/etc/passwd", scratch.path().join("package/link")).unwrap();
    scratch.git(&["add", "--all"]);
    let submodule = "160000,4b825dc642cb6eb9a060e54bf8d69288fbee4904,package/module";
    scratch.git(&["update-index", "--add", "--cacheinfo", submodule]);
    scratch.git(&["commit", "--quiet", "--message=c"]);
    let commit = CommitId::parse(&scratch.git(&["rev-parse", "HEAD"])).unwrap();

    let (_state, exports) = exports();
    let repository = Repository::open(scratch.path()).await.unwrap();
    let export = exports.export(&repository, &commit, None).await.unwrap();
    let refused: Vec<(&str, StandIn)> =
        export.refused.iter().map(|refused| (refused.path.as_str(), refused.what)).collect();
    assert_eq!(
        refused,
        [
            ("package/big.iso", StandIn::LfsPointer),
            ("package/link", StandIn::SymbolicLink),
            ("package/module", StandIn::Submodule),
        ]
    );
    for (path, what) in refused {
        assert_eq!(fs::read_link(export.root.join(path)).unwrap(), Path::new(&what.text()));
        assert!(fs::metadata(export.root.join(path)).is_err(), "{path} leads somewhere");
    }
    assert_eq!(read(&export.root, "package/real"), "real");
}

#[tokio::test]
async fn hostile_paths_refuse_the_commit() {
    let scratch = Scratch::new();
    let blob = scratch.git_with_input(&["hash-object", "-w", "--stdin"], "x");
    let (_state, exports) = exports();
    let repository = Repository::open(scratch.path()).await.unwrap();
    for name in ["..", ".git", ".GIT", "."] {
        let tree = scratch.git_with_input(&["mktree"], &format!("100644 blob {blob}\t{name}\n"));
        let outer = scratch.git_with_input(&["mktree"], &format!("040000 tree {tree}\tdir\n"));
        let commit = CommitId::parse(&scratch.git(&["commit-tree", &outer, "-m", "x"])).unwrap();
        let refused = exports.export(&repository, &commit, None).await;
        assert!(matches!(refused, Err(ExportError::UnsafePath { .. })), "{name}: {refused:?}");
    }
    // The same name as a link and as a directory: a file must not be written through the link.
    let outside = tempfile::tempdir().unwrap();
    let link = scratch.git_with_input(&["hash-object", "-w", "--stdin"], outside.path().to_str().unwrap());
    let inner = scratch.git_with_input(&["mktree"], &format!("100644 blob {blob}\tfile\n"));
    let twice = scratch.git_with_input(&["mktree"], &format!("120000 blob {link}\ta\n040000 tree {inner}\ta\n"));
    let commit = CommitId::parse(&scratch.git(&["commit-tree", &twice, "-m", "x"])).unwrap();
    assert!(exports.export(&repository, &commit, None).await.is_err());
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_missing_branch_or_directory_is_an_error() {
    let scratch = Scratch::new();
    scratch.write("a", "a");
    let commit = scratch.commit();
    let repository = Repository::open(scratch.path()).await.unwrap();
    assert!(matches!(repository.branch_head("none").await, Err(GitError::NoBranch { .. })));
    assert!(matches!(repository.branch_head("--help").await, Err(GitError::BranchName { .. })));
    assert!(Repository::open(tempfile::tempdir().unwrap().path()).await.is_err());
    let (_state, exports) = exports();
    let elsewhere = Repository { prefix: "missing/".to_owned(), ..repository };
    assert!(matches!(exports.export(&elsewhere, &commit, None).await, Err(ExportError::Git { .. })));
}

#[tokio::test]
async fn what_a_killed_process_left_is_removed_at_start() {
    let state = tempfile::tempdir().unwrap();
    let directory = state.path().join("sync");
    fs::create_dir_all(directory.join("unfinished-x/a")).unwrap();
    fs::create_dir_all(directory.join("a".repeat(40))).unwrap();
    fs::write(directory.join("ledger.json"), "{}").unwrap();
    Exports::open(&directory).unwrap();
    let left: Vec<_> = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["ledger.json"]);
}
