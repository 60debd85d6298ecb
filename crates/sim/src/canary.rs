// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Lists of bugs that can be planted, each with its name on the command line.

macro_rules! canaries {
    ($(#[$what:meta])* $list:ident { $($(#[$doc:meta])* $name:ident = $text:literal,)* }) => {
        $(#[$what])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum $list {
            $($(#[$doc])* $name,)*
        }

        impl $list {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The name on the command line: lower case, with hyphens.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }

        impl std::fmt::Display for $list {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.name())
            }
        }

        impl std::str::FromStr for $list {
            type Err = String;

            fn from_str(name: &str) -> Result<Self, String> {
                let found = Self::ALL.iter().find(|canary| canary.name() == name);
                found
                    .copied()
                    .ok_or_else(|| format!("no canary is called {name:?}"))
            }
        }
    };
}

pub(crate) use canaries;
