// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Everything ends: who notices that a round does not.

use std::process::exit;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use crate::sync::Mutex;
use crate::world::World;

struct Round {
    seed: u64,
    begin: Instant,
    world: Weak<World>,
}

pub(crate) struct Watchdog(Arc<Mutex<Option<Round>>>);

impl Watchdog {
    pub(crate) fn start(patience: Duration) -> Self {
        let round: Arc<Mutex<Option<Round>>> = Arc::default();
        let own = Arc::clone(&round);
        // Not joined: it stays as long as the process.
        std::thread::spawn(move || loop {
            std::thread::sleep(Duration::from_millis(250));
            let late = own
                .lock()
                .as_ref()
                .filter(|round| round.begin.elapsed() > patience)
                .map(|round| (round.seed, round.world.clone()));
            if let Some((seed, world)) = late {
                eprintln!("seed {seed}: does not end");
                match world.upgrade() {
                    Some(world) => world.dump(),
                    None => eprintln!("what is left: drivers, replay data or recoveries"),
                }
                exit(3);
            }
        });
        Self(round)
    }

    /// A round begins.
    pub(crate) fn watch(&self, seed: u64, world: &Arc<World>) {
        *self.0.lock() = Some(Round {
            seed,
            begin: Instant::now(),
            world: Arc::downgrade(world),
        });
    }

    /// The round is over.
    pub(crate) fn rest(&self) {
        *self.0.lock() = None;
    }
}
