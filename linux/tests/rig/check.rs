// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Checks that say what does not hold, and return: destructors run, and the other tests go on.

/// Returns `EINVAL` unless the condition holds.
macro_rules! ensure {
    ($condition:expr $(,)?) => {
        if !$condition {
            kernel::pr_err!(
                "{}:{}: not true: {}\n",
                file!(),
                line!(),
                stringify!($condition)
            );
            return Err(kernel::error::code::EINVAL);
        }
    };
}

/// Returns `EINVAL` unless both are equal.
macro_rules! ensure_eq {
    ($left:expr, $right:expr $(,)?) => {
        match (&$left, &$right) {
            (left, right) => {
                if !(*left == *right) {
                    kernel::pr_err!(
                        "{}:{}: {} is {:?}, not {:?}\n",
                        file!(),
                        line!(),
                        stringify!($left),
                        left,
                        right
                    );
                    return Err(kernel::error::code::EINVAL);
                }
            }
        }
    };
}
