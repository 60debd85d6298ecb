// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Error numbers, with the kernel's names and values.

use core::fmt;

/// A kernel error number: the error a fence carries and the reason a job failed.
///
/// # Invariants
///
/// The value lies in `-4095..=-1`, the range `dma_fence_set_error()` accepts
/// (`drivers/dma-buf/dma-fence.c`). Two bytes hold it, which keeps a queue's entries small.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(transparent)]
pub struct Errno(i16);

macro_rules! errnos {
    ($($(#[$doc:meta])* $name:ident = $value:literal;)*) => {
        impl Errno {
            $($(#[$doc])* pub const $name: Self = Self(-$value);)*

            /// The symbolic name, where this crate knows one.
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $(v if v == -$value => Some(stringify!($name)),)*
                    _ => None,
                }
            }
        }
    };
}

errnos! {
    /// No such object.
    ENOENT = 2;
    /// The device reported an input/output error.
    EIO = 5;
    /// Try again.
    EAGAIN = 11;
    /// Out of memory.
    ENOMEM = 12;
    /// A bad address.
    EFAULT = 14;
    /// In use.
    EBUSY = 16;
    /// The device is gone (`Documentation/gpu/drm-uapi.rst`, device hot-unplug).
    ENODEV = 19;
    /// An argument out of range.
    EINVAL = 22;
    /// No room.
    ENOSPC = 28;
    /// Would deadlock.
    EDEADLK = 35;
    /// The job's result is lost, as after a reset (`include/linux/dma-fence.h`).
    ENODATA = 61;
    /// The job took too long (`include/linux/dma-fence.h`).
    ETIME = 62;
    /// A bad message: a command stream the device could not parse.
    EBADMSG = 74;
    /// The wait ran out of time.
    ETIMEDOUT = 110;
    /// The job was cancelled, or its fence's owner went away (`include/linux/dma-fence.h`).
    ECANCELED = 125;
    /// The owner died.
    EOWNERDEAD = 130;
}

impl Errno {
    /// The lowest value an error number can have.
    pub const MIN: i32 = -4095;

    /// Makes an error number of a negative errno; `None` outside `-4095..=-1`.
    pub const fn new(value: i32) -> Option<Self> {
        if value < 0 && value >= Self::MIN {
            // In range, as just checked.
            Some(Self(value as i16))
        } else {
            None
        }
    }

    /// The (negative) value.
    pub const fn get(self) -> i32 {
        self.0 as i32
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "errno {}", -self.0),
        }
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl core::error::Error for Errno {}

#[cfg(test)]
mod tests {
    use super::Errno;

    #[test]
    fn only_values_a_fence_accepts_become_error_numbers() {
        assert_eq!(Errno::new(0), None);
        assert_eq!(Errno::new(5), None);
        assert_eq!(Errno::new(-4096), None);
        assert_eq!(Errno::new(-5), Some(Errno::EIO));
        assert_eq!(Errno::new(-4095).map(Errno::get), Some(-4095));
    }
}
