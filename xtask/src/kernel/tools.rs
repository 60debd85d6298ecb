// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The tools a kernel is built with: this machine's, or those of a Debian tree made for it.

use std::path::Path;
use std::process::Command;

use super::cache::{key, Cache};
use super::place::Place;
use super::steps::Steps;
use crate::run::Failed;

/// The kernel's source, as Debian names it.
pub(crate) const SOURCE: &str = "linux-source-7.3";
/// The release the tree is of; what is too old there comes from its backports.
const SUITE: &str = "trixie";
const PACKAGES: &str = "bindgen clang lld llvm make flex bison bc libc6-dev libelf-dev libssl-dev \
    python3 perl cpio rsync xz-utils kmod gawk";
const BACKPORTS: &str = "rustc rust-src rustfmt rust-clippy linux-source-7.3";

/// The oldest that the kernel takes.
const WANTED: [(&str, [u32; 3]); 4] = [
    ("clang", [17, 0, 1]),
    ("ld.lld", [17, 0, 1]),
    ("rustc", [1, 85, 0]),
    ("bindgen", [0, 71, 1]),
];
/// What else a build and a boot call.
const ALSO: [&str; 9] = [
    "make", "flex", "bison", "bc", "perl", "python3", "insmod", "dmesg", "rustfmt",
];

/// Says everything that a kernel's build depends on, in one go.
const VERSIONS: &str = r#"
clang --version | head -n 1
ld.lld --version
rustc -vV
bindgen --version
"#;

/// Fills a bare tree. The backports come from the mirror that debootstrap found. A tree that is not
/// finished is thrown away, so nothing need be on the disk before that.
const FILL: &str = r#"
export DEBIAN_FRONTEND=noninteractive
echo force-unsafe-io > /etc/dpkg/dpkg.cfg.d/unsafe-io
mirror=$(awk '$1 == "deb" { print $2; exit }' /etc/apt/sources.list)
echo "deb $mirror $1-backports main" > /etc/apt/sources.list.d/backports.list
apt-get update -q
apt-get install -q -y --no-install-recommends $2
apt-get install -q -y --no-install-recommends -t "$1-backports" $3
apt-get clean
"#;

/// Tools, and what they say they are.
pub(crate) struct Tools {
    pub(crate) place: Place,
    pub(crate) versions: String,
    /// The standard library's source, for the kernel's own build of core.
    pub(crate) library: String,
    /// The kernel's source, packed, and its version.
    pub(crate) tarball: String,
    pub(crate) source: String,
}

/// Finds tools or installs them.
pub(crate) fn find(cache: &Cache, steps: &mut Steps) -> Result<Tools, Failed> {
    let missing = missing_here();
    let place = if missing.is_empty() {
        Place::Here
    } else {
        tree(cache, steps, &missing)?
    };
    let versions = ask(&place, VERSIONS)?;
    let sysroot = ask(&place, "rustc --print sysroot")?;
    let source = format!("dpkg-query -W -f '${{Version}}' {SOURCE}");
    Ok(Tools {
        versions,
        library: format!("{}/lib/rustlib/src/rust/library", sysroot.trim()),
        tarball: format!("/usr/src/{SOURCE}.tar.xz"),
        source: ask(&place, &source)?,
        place,
    })
}

fn ask(place: &Place, script: &str) -> Result<String, Failed> {
    let output = place.script(script, &[], &[]).output();
    let output = output.map_err(|error| Failed(format!("cannot run setpriv: {error}")))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let why = String::from_utf8_lossy(&output.stderr);
    Err(Failed(format!("the tools do not say what they are: {why}")))
}

/// What this machine lacks.
fn missing_here() -> Vec<String> {
    let mut missing = Vec::new();
    for (program, oldest) in WANTED {
        let found = Command::new(program).arg("--version").output().ok();
        let text = found.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        let wanted = oldest.map(|part| part.to_string()).join(".");
        match text.as_deref().and_then(version) {
            Some(version) if version >= oldest => {}
            Some(_) => missing.push(format!("{program} {wanted} or later (it is older)")),
            None => missing.push(format!("{program} {wanted} or later")),
        }
    }
    for program in ALSO {
        if Command::new(program).arg("--version").output().is_err() {
            missing.push(program.to_owned());
        }
    }
    let sysroot = ask(&Place::Here, "rustc --print sysroot").unwrap_or_default();
    let library = Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/core");
    if !library.exists() {
        missing.push("the standard library's source (rust-src) of that rustc".to_owned());
    }
    if !Path::new(&format!("/usr/src/{SOURCE}.tar.xz")).exists() {
        missing.push(SOURCE.to_owned());
    }
    missing
}

/// The first thing in a text that looks like a version.
fn version(text: &str) -> Option<[u32; 3]> {
    text.split(|c: char| !(c.is_ascii_digit() || c == '.'))
        .find_map(|word| {
            let mut parts = word.split('.').map(str::parse);
            match (parts.next(), parts.next(), parts.next()) {
                (Some(Ok(a)), Some(Ok(b)), Some(Ok(c))) => Some([a, b, c]),
                _ => None,
            }
        })
}

/// A Debian tree with everything in it.
fn tree(cache: &Cache, steps: &mut Steps, missing: &[String]) -> Result<Place, Failed> {
    let name = format!("tree-{}", key(&[SUITE, PACKAGES, BACKPORTS, FILL]));
    if let Some(tree) = cache.find(&name) {
        return Ok(Place::Tree(tree));
    }
    let lack = |why: &str| {
        Failed(format!(
            "this machine lacks, for a kernel:\n    {}\n  and {why}\n  Install those (Debian: {PACKAGES} {BACKPORTS},\n  \
             the latter from {SUITE}-backports), or run this as root on a machine with apt-get or debootstrap and a network.",
            missing.join("\n    ")
        ))
    };
    if !root_user() {
        return Err(lack("a tree of its own can be made by root only."));
    }
    if !exists("debootstrap") {
        let mut install = Command::new("sh");
        install.args([
            "-ec",
            "apt-get update -q && apt-get install -q -y debootstrap",
        ]);
        steps
            .run("debootstrap", install)
            .map_err(|Failed(why)| lack(&format!("debootstrap cannot be installed ({why}).")))?;
    }
    let tree = cache.make(&name, |partial| {
        let mut bare = Command::new("debootstrap");
        bare.args(["--variant=minbase", SUITE]).arg(partial);
        steps.run("toolchain", bare)?;
        let place = Place::Tree(partial.to_owned());
        let fill = place.script(FILL, &[SUITE, PACKAGES, BACKPORTS], &[]);
        steps.append("toolchain", fill)
    });
    tree.map(Place::Tree)
        .map_err(|Failed(why)| lack(&format!("a tree of its own could not be made ({why}).")))
}

fn exists(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output();
    found.is_ok() || Path::new("/usr/sbin").join(program).exists()
}

fn root_user() -> bool {
    let output = Command::new("id").arg("-u").output();
    output.is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_where_tools_print_them() {
        let cases = [
            ("Debian clang version 19.1.7 (3+b1)", [19, 1, 7]),
            ("bindgen 0.71.1", [0, 71, 1]),
            (
                "rustc 1.96.1 (0a1b2c3d4 2026-05-01) (built from a source tarball)",
                [1, 96, 1],
            ),
            (
                "Debian LLD 19.1.7 (compatible with GNU linkers)",
                [19, 1, 7],
            ),
        ];
        for (text, wanted) in cases {
            assert_eq!(version(text), Some(wanted), "{text}");
        }
        assert_eq!(version("no version"), None);
        assert!([0, 66, 1] < WANTED[3].1);
    }
}
