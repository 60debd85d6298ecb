// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A device whose slots an orchestrator gives away, and queues on seats.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::time::Duration;

use ringfence::{Builder, Queue, Rest};
use ringfence_orchestrator::{Client, Fair, Orchestrator, Seat, SeatConfig};
use ringfence_softgpu::driver::{Reset, SoftDriver, SoftSlots};
use ringfence_softgpu::GpuConfig;

use crate::common::until;
use crate::rig::{Lane, Rig};

pub(crate) struct Hosted {
    pub(crate) rig: Rig,
    pub(crate) orchestrator: Orchestrator<SoftSlots>,
    pub(crate) client: Client,
}

/// A lane on a seat.
pub(crate) struct Place {
    pub(crate) lane: Lane,
    pub(crate) seat: Seat<SoftSlots>,
}

impl Hosted {
    pub(crate) fn new(config: GpuConfig, standby: usize, reset: Reset, policy: Fair) -> Self {
        let rig = Rig::standing_by(config, standby, reset);
        let orchestrator = rig
            .soft
            .orchestrator("soft")
            .expect("the host schedules")
            .policy(policy)
            .patience(Some(Duration::from_millis(100)))
            .build(&rig.pool)
            .expect("there are slots");
        Self {
            client: orchestrator.client("test"),
            rig,
            orchestrator,
        }
    }

    /// A queue on a seat, with the rest of its builder as `configure` says.
    pub(crate) fn place_with(
        &self,
        timeout: Duration,
        config: SeatConfig,
        configure: impl FnOnce(Builder) -> Builder,
    ) -> Place {
        let soft = &self.rig.soft;
        let context = soft.create_context(8192).expect("a context");
        let driver = soft.driver(&context, 64).expect("the first driver");
        let driver = driver.patience(timeout).rest(Rest::Replay);
        let seat = soft
            .seat(&self.orchestrator, "lane", config, &self.client, &driver)
            .expect("such slots");
        let builder = Queue::<SoftDriver>::builder("lane")
            .timeout(timeout)
            .gate(seat.gate());
        let lane = self.rig.lane_with(context, driver, configure(builder));
        Place { lane, seat }
    }

    pub(crate) fn end(self, places: Vec<Place>) {
        let (lanes, seats): (Vec<_>, Vec<_>) = places
            .into_iter()
            .map(|place| (place.lane, place.seat))
            .unzip();
        let orchestrator = self.orchestrator;
        self.rig.end_after(lanes, || {
            until("all seats to go", || {
                orchestrator.snapshot().seats.is_empty()
            });
            drop((seats, orchestrator));
        });
    }
}
