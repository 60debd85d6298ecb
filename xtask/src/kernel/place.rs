// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Where kernels are built and booted: on this machine, or in a tree of its own.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::run::root;

/// Where the tree has what it shares with the machine. Builds remember paths; these never change.
const INSIDE: &str = "/ringfence";

/// Enters a tree: a mount namespace and a process namespace that end with the command, however it
/// ends. Arguments: the tree, how many pairs of folders, the pairs, the command.
const ENTER: &str = r#"
tree=$1; pairs=$2; shift 2
mount -t proc proc "$tree/proc"
mount --rbind /dev "$tree/dev"
mount -t tmpfs tmpfs "$tree/tmp"
while [ "$pairs" -gt 0 ]; do
    mkdir -p "$tree$2"
    mount --bind "$1" "$tree$2"
    shift 2
    pairs=$((pairs - 1))
done
chroot "$tree" "$@"
"#;

/// A folder that programs in a place can see.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    name: &'static str,
    pub(crate) host: PathBuf,
}

impl Shared {
    pub(crate) fn new(name: &'static str, host: impl Into<PathBuf>) -> Self {
        Self {
            name,
            host: host.into(),
        }
    }

    /// The workspace.
    pub(crate) fn repository() -> Self {
        Self::new("repository", root())
    }
}

/// Where the tools are.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    /// This machine has all that is needed.
    Here,
    /// A folder with a system in it.
    Tree(PathBuf),
}

impl Place {
    /// What a shared folder is called there.
    pub(crate) fn path(&self, shared: &Shared) -> String {
        match self {
            Self::Here => shared.host.display().to_string(),
            Self::Tree(_) => format!("{INSIDE}/{}", shared.name),
        }
    }

    /// A path on this machine, from a path that a program there said.
    pub(crate) fn outside(&self, path: &str, shared: &[&Shared]) -> PathBuf {
        for one in shared {
            if let Ok(rest) = Path::new(path).strip_prefix(self.path(one)) {
                return one.host.join(rest);
            }
        }
        match self {
            Self::Here => PathBuf::from(path),
            Self::Tree(tree) => tree.join(path.trim_start_matches('/')),
        }
    }

    /// A program there, which sees the folders given, and ends when this process does.
    pub(crate) fn command(&self, program: &str, shared: &[&Shared]) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]);
        if let Self::Tree(tree) = self {
            command
                .args(["unshare", "--mount", "--pid", "--fork", "--kill-child"])
                .args(["--propagation", "private", "sh", "-ec", ENTER, "sh"])
                .arg(tree)
                .arg(shared.len().to_string());
            for one in shared {
                command.arg(&one.host).arg(self.path(one));
            }
        }
        command.arg(program);
        self.environment(&mut command);
        command
    }

    /// Cargo tells its children much that is not for a kernel's build.
    fn environment(&self, command: &mut Command) {
        let kept: &[&str] = match self {
            Self::Here => &["PATH", "HOME", "TERM", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN"],
            Self::Tree(_) => &["TERM"],
        };
        command.env_clear();
        for name in kept {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        if let Self::Tree(_) = self {
            command
                .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
                .env("HOME", "/root");
        }
        command.env("LC_ALL", "C.UTF-8");
    }

    /// A shell script there.
    pub(crate) fn script(&self, script: &str, args: &[&str], shared: &[&Shared]) -> Command {
        let mut command = self.command("sh", shared);
        command.args(["-ec", script, "sh"]).args(args);
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_the_same_for_every_tree_and_found_again() {
        let build = Shared::new("build", "/cache/build-1");
        let tree = Place::Tree("/cache/tree".into());
        assert_eq!(tree.path(&build), "/ringfence/build");
        assert_eq!(
            tree.outside("/ringfence/build/rust/x.o", &[&build]),
            Path::new("/cache/build-1/rust/x.o")
        );
        assert_eq!(
            tree.outside("/usr/bin/rustc", &[&build]),
            Path::new("/cache/tree/usr/bin/rustc")
        );
        assert_eq!(Place::Here.path(&build), "/cache/build-1");
    }

    #[test]
    fn nothing_of_cargo_gets_through() {
        let place = Place::Tree("/cache/tree".into());
        let command = place.command("make", &[]);
        assert!(command.get_envs().all(|(name, _)| name != "CARGO"));
        assert!(command.get_envs().any(|(name, _)| name == "PATH"));
    }
}
