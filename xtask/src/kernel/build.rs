// SPDX-License-Identifier: GPL-2.0 OR MIT
//! From nothing to a kernel, and from a kernel to our modules.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::cache::{self, failed, Cache};
use super::place::{Place, Shared};
use super::steps::{read, Steps};
use super::tools::{self, Tools};
use crate::run::{root, Failed};

/// Which kernel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// For measurements.
    Release,
    /// With everything that watches.
    Debug,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::Debug => "debug",
        }
    }

    pub(crate) fn of(debug: bool) -> Self {
        if debug {
            Self::Debug
        } else {
            Self::Release
        }
    }

    /// What make is told beside the configuration.
    fn flags(self) -> &'static [&'static str] {
        match self {
            Self::Release => &[],
            Self::Debug => &[
                // With frame pointers clang lets the stub that returns from signals push a register,
                // and then every process crashes.
                "CFLAGS_stub.o=-fno-pic -fomit-frame-pointer",
                // UML's large code model has lock classes where lockdep does not look for them, and
                // it turns itself off. Modules keep the large one.
                "CFLAGS_KERNEL=-mcmodel=small",
            ],
        }
    }
}

/// Everything to work with.
pub(crate) struct Workshop {
    cache: Cache,
    pub(crate) steps: Steps,
    pub(crate) tools: Tools,
    pub(crate) source: Shared,
}

/// A kernel that is built, and where its modules go.
#[derive(Clone, Debug)]
pub(crate) struct Kernel {
    pub(crate) build: Shared,
    pub(crate) modules: Shared,
}

impl Workshop {
    /// Tools and source.
    pub(crate) fn open() -> Result<Self, Failed> {
        let cache = Cache::open()?;
        let mut steps = Steps::new(cache.logs());
        let tools = tools::find(&cache, &mut steps)?;
        let name = format!("source-{}", cache::key(&[&tools.source, &tools.tarball]));
        let source = cache.make(&name, |partial| {
            let source = Shared::new("source", partial);
            let mut unpack = tools.place.command("tar", &[&source]);
            unpack
                .args([
                    "--extract",
                    "--strip-components=1",
                    "--file",
                    &tools.tarball,
                ])
                .args(["--directory", &tools.place.path(&source)]);
            steps.run("source", unpack)
        })?;
        Ok(Self {
            cache,
            steps,
            tools,
            source: Shared::new("source", source),
        })
    }

    /// An empty folder for now.
    pub(crate) fn scratch(&self, name: &str) -> Result<PathBuf, Failed> {
        self.cache.begin(name)
    }

    /// Lets other commands run, before one that may take for ever.
    pub(crate) fn release(&self) -> Result<(), Failed> {
        self.cache.release()
    }

    pub(crate) fn place(&self) -> &Place {
        &self.tools.place
    }

    /// What every call of make is told.
    fn make(&self, shared: &[&Shared]) -> Command {
        let mut make = self.place().command("make", shared);
        make.args(["ARCH=um", "LLVM=1"])
            .arg(format!("RUST_LIB_SRC={}", self.tools.library));
        make
    }

    /// The kernel's own make, in a folder for what it builds.
    pub(crate) fn kernel_make(&self, source: &Shared, build: &Shared, args: &[&str]) -> Command {
        let mut make = self.make(&[source, build]);
        make.arg("-C")
            .arg(self.place().path(source))
            .arg(format!("O={}", self.place().path(build)))
            .args(args);
        make
    }

    /// Finds a kernel or builds it.
    pub(crate) fn kernel(&mut self, kind: Kind) -> Result<Kernel, Failed> {
        let config = root().join("linux/config");
        let mut fragment = String::new();
        for name in ["common", kind.name()] {
            let path = config.join(format!("{name}.config"));
            fragment += &fs::read_to_string(&path).map_err(|error| failed(&path, error))?;
        }
        let key = cache::key(&[
            &self.tools.source,
            &self.tools.versions,
            &self.tools.library,
            &fragment,
            &kind.flags().join(" "),
        ]);
        let name = format!("{}-{key}", kind.name());
        let build = match self.cache.find(&name) {
            Some(build) => build,
            None => self.build(&name, kind, &fragment)?,
        };
        // Each checkout has its own: make believes in times of change.
        let checkout = root().display().to_string();
        let modules = format!("modules-{name}-{}", cache::key(&[&checkout]));
        let modules = self.cache.folder(&modules)?;
        Ok(Kernel {
            build: Shared::new("build", build),
            modules: Shared::new("modules", modules),
        })
    }

    fn build(&mut self, name: &str, kind: Kind, fragment: &str) -> Result<PathBuf, Failed> {
        let step = format!("{} kernel", kind.name());
        let jobs = format!("-j{}", processors());
        let mut commands = Vec::new();
        let partial = self.cache.begin(name)?;
        let build = Shared::new("build", partial.clone());
        let path = partial.join("fragment");
        fs::write(&path, fragment).map_err(|error| failed(&path, error))?;
        let all = format!("KCONFIG_ALLCONFIG={}/fragment", self.place().path(&build));
        commands.push(self.kernel_make(&self.source, &build, &[&all, "allnoconfig"]));
        commands.push(self.kernel_make(&self.source, &build, &["rustavailable"]));
        let mut targets = vec![jobs.as_str()];
        targets.extend(kind.flags());
        targets.extend(["linux", "modules"]);
        commands.push(self.kernel_make(&self.source, &build, &targets));
        let log = self.steps.log(&step);
        let _old = fs::remove_file(log);
        for (index, command) in commands.into_iter().enumerate() {
            self.steps.append(&step, command)?;
            if index == 0 {
                configured(&partial, fragment)?;
            }
        }
        self.cache.finish(name)
    }

    /// Builds our modules for a kernel.
    pub(crate) fn modules(&mut self, kernel: &Kernel) -> Result<(), Failed> {
        let step = "modules";
        self.objects(kernel, step, "modules")?;
        for line in warnings(&read(&self.steps.log(step)), &self.ours()) {
            eprintln!("  | {line}");
        }
        Ok(())
    }

    /// Makes something of ours for a kernel. A program that was killed while it wrote has left what
    /// looks finished; then all is made anew.
    pub(crate) fn objects(
        &mut self,
        kernel: &Kernel,
        step: &str,
        what: &str,
    ) -> Result<(), Failed> {
        let folder = &kernel.modules.host;
        let writing = folder.join("writing");
        if writing.exists() {
            cache::remove(folder)?;
        }
        let command = self.modules_make(kernel, &kernel.modules, &[what])?;
        fs::create_dir_all(folder).map_err(|error| failed(folder, error))?;
        fs::write(&writing, "").map_err(|error| failed(&writing, error))?;
        let done = self.steps.run(step, command);
        fs::remove_file(&writing).map_err(|error| failed(&writing, error))?;
        done
    }

    /// What builds our modules, into a folder for that.
    pub(crate) fn modules_make(
        &self,
        kernel: &Kernel,
        into: &Shared,
        args: &[&str],
    ) -> Result<Command, Failed> {
        if !root().join("Kbuild").exists() {
            return Err(Failed("no Kbuild at the repository's root".into()));
        }
        let repository = Shared::repository();
        let mut make = self.make(&[&self.source, &kernel.build, into, &repository]);
        make.arg("-C")
            .arg(self.place().path(&kernel.build))
            .arg(format!("M={}", self.place().path(&repository)))
            .arg(format!("MO={}", self.place().path(into)))
            .arg(format!("-j{}", processors()))
            .args(args);
        Ok(make)
    }

    /// How paths of our sources begin in compilers' messages.
    pub(crate) fn ours(&self) -> String {
        self.place().path(&Shared::repository())
    }
}

impl Kernel {
    /// Asks for modules by name, before a boot that wants them.
    pub(crate) fn wants(&self, modules: &[&str]) -> Result<(), Failed> {
        // What lies in the folder may be left from another day.
        let path = self.modules.host.join("modules.order");
        let order = fs::read_to_string(&path).map_err(|error| failed(&path, error))?;
        let missing = absent(&order, modules);
        if missing.is_empty() {
            return Ok(());
        }
        Err(Failed(format!(
            "the Kbuild at the repository's root does not build {}",
            missing.join(", ")
        )))
    }
}

/// The modules that are not in Kbuild's list of what it made.
fn absent(order: &str, modules: &[&str]) -> Vec<String> {
    let is_made = |name: &str| {
        order.lines().any(|line| {
            let stem = line.trim().rsplit('/').next().unwrap_or("");
            stem.strip_suffix(".o").or(stem.strip_suffix(".ko")) == Some(name)
        })
    };
    let missing = modules.iter().filter(|name| !is_made(name));
    missing.map(|name| format!("{name}.ko")).collect()
}

/// Whether the kernel took every option. One that depends on another that is off is dropped in
/// silence.
fn configured(build: &Path, fragment: &str) -> Result<(), Failed> {
    let path = build.join(".config");
    let config = fs::read_to_string(&path).map_err(|error| failed(&path, error))?;
    let dropped = dropped(&config, fragment);
    if dropped.is_empty() {
        return Ok(());
    }
    let list = dropped.join(", ");
    Err(Failed(format!("linux/config asks in vain for {list}")))
}

fn dropped<'a>(config: &str, fragment: &'a str) -> Vec<&'a str> {
    let lines: std::collections::HashSet<&str> = config.lines().collect();
    let is_off = |line: &str| {
        let name = line
            .strip_prefix("# ")
            .and_then(|rest| rest.strip_suffix(" is not set"));
        name.map(|name| !config.lines().any(|l| l.starts_with(&format!("{name}="))))
    };
    fragment
        .lines()
        .filter(|line| {
            if line.starts_with("CONFIG_") {
                return !lines.contains(line);
            }
            // Comments that are no options ask for nothing.
            line.starts_with("# CONFIG_") && is_off(line) == Some(false)
        })
        .collect()
}

/// The warnings in a build's log that are about our sources. The kernel's headers have one of
/// their own.
pub(crate) fn warnings<'a>(log: &'a str, ours: &str) -> Vec<&'a str> {
    let lines: Vec<&str> = log.lines().collect();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let is_c = line.contains(": warning:") && line.contains(ours);
        // rustc says where on the next line.
        let after = lines.get(at + 1).is_some_and(|next| next.contains(ours));
        let is_rust = line.trim_start().starts_with("warning") && after;
        let is_modpost = line.starts_with("WARNING: modpost");
        if is_rust {
            found.extend([*line, lines[at + 1]]);
        } else if is_c || is_modpost {
            found.push(*line);
        }
    }
    found
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_that_were_dropped_are_found() {
        let config = "CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_C=y\nCONFIG_N=2\n";
        let fragment = "# words\nCONFIG_A=y\n# CONFIG_B is not set\nCONFIG_N=2\n";
        assert_eq!(dropped(config, fragment), [""; 0]);
        let fragment = "CONFIG_B=y\n# CONFIG_C is not set\nCONFIG_N=4\n# CONFIG_D is not set\n";
        assert_eq!(
            dropped(config, fragment),
            ["CONFIG_B=y", "# CONFIG_C is not set", "CONFIG_N=4"]
        );
    }

    #[test]
    fn modules_that_are_not_made_are_named() {
        let order = "ringfence.o\nringfence_kunit.o\n";
        assert_eq!(absent(order, &["ringfence", "ringfence_kunit"]), [""; 0]);
        assert_eq!(absent(order, &["ringfence_bench"]), ["ringfence_bench.ko"]);
        assert_eq!(absent("", &["ringfence"]), ["ringfence.ko"]);
    }

    #[test]
    fn warnings_of_ours_are_told_from_the_headers() {
        let log = "\
  CC [M]  linux/tests/violation.o
/ringfence/source/include/asm-generic/io.h:1209:55: warning: performing pointer arithmetic
/ringfence/repository/linux/shim.c:3:5: warning: unused variable 'x'
warning: unused variable: `y`
  --> /ringfence/repository/linux/x_main.rs:2:9
warning: 1 warning emitted
";
        assert_eq!(
            warnings(log, "/ringfence/repository"),
            [
                "/ringfence/repository/linux/shim.c:3:5: warning: unused variable 'x'",
                "warning: unused variable: `y`",
                "  --> /ringfence/repository/linux/x_main.rs:2:9",
            ]
        );
    }
}
