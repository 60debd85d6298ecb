// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What tests of many seeds share.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test binary uses a part of it"
)]

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Mutex;

use ringfence_sim::Failure;

/// The number in an environment variable.
pub fn number(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    let number = value.parse();
    Some(number.unwrap_or_else(|_| panic!("{name} must be a whole number, not {value:?}")))
}

/// Plays `seeds`, on as many threads as the machine has: what they have seen together, or a seed that
/// fails.
pub fn play_all<T: Default + Send>(
    seeds: Range<u64>,
    play: impl Fn(u64, &mut T) -> Result<(), Failure> + Sync,
    merge: impl Fn(&mut T, &T) + Sync,
) -> Result<T, (u64, Failure)> {
    let next = AtomicU64::new(seeds.start);
    let all = Mutex::new(T::default());
    let failed = Mutex::new(None);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut seen = T::default();
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end || failed.lock().unwrap().is_some() {
                        break;
                    }
                    if let Err(failure) = play(seed, &mut seen) {
                        *failed.lock().unwrap() = Some((seed, failure));
                    }
                }
                merge(&mut all.lock().unwrap(), &seen);
            });
        }
    });
    match failed.into_inner().unwrap() {
        Some(failed) => Err(failed),
        None => Ok(all.into_inner().unwrap()),
    }
}
