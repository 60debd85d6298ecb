// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Bugs that can be planted into a run, to show that the checks find them.

use std::fmt;
use std::str::FromStr;

macro_rules! canaries {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// A bug that can be planted: between core and its host (`Port`), in
        /// the modelled host or in the modelled driver.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Canary {
            $($(#[$doc])* $name,)*
        }

        impl Canary {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The name on the command line: lower case, with hyphens.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

canaries! {
    /// A kick never reaches the worker.
    KickLost = "kick-lost",
    /// A completion of an attempt before the present one ends the job.
    StaleCompletionAccepted = "stale-completion-accepted",
    /// A job that is to be replayed is handed to the run callback once more, too.
    RunAgain = "run-again",
}

impl fmt::Display for Canary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Canary {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.iter().find(|canary| canary.name() == name);
        found
            .copied()
            .ok_or_else(|| format!("no canary is called {name:?}"))
    }
}

/// Which bug is planted. Without the feature `canary` there is never one, and asking costs nothing.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Plant {
    #[cfg(feature = "canary")]
    planted: Option<Canary>,
}

impl Plant {
    #[cfg(feature = "canary")]
    pub(crate) const fn new(planted: Option<Canary>) -> Self {
        Self { planted }
    }

    #[inline(always)]
    pub(crate) fn is(self, canary: Canary) -> bool {
        #[cfg(feature = "canary")]
        return self.planted == Some(canary);
        #[cfg(not(feature = "canary"))]
        {
            // Named here so that it is used in every build.
            let _ = canary;
            false
        }
    }
}
