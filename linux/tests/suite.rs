// SPDX-License-Identifier: GPL-2.0 OR MIT
//! KUnit suites, one for each module of scenarios.

/// Makes a suite of the scenarios of a module.
macro_rules! suite {
    ($suite:ident of $module:ident { $($name:ident,)* }) => {
        #[kunit_tests($suite)]
        mod $suite {
            use kernel::prelude::*;

            $(
                #[test]
                fn $name() -> Result {
                    crate::rig::scenario(stringify!($name), crate::$module::$name)
                }
            )*
        }
    };
}
