// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Making queues.

use core::ptr::NonNull;
use core::time::Duration;

use kernel::alloc::Flags;
use kernel::prelude::*;
use kernel::sync::Arc;
use ringfence_core::{Ban, ClosePolicy, Config, ConfigError, OnDependencyError, Timeout};

use super::{LongRunning, Mode, Normal, Queue};
use crate::device::{Device, Member, Refused};
use crate::driver::Driver;
use crate::executor::Executor;
use crate::fence::Timeline;
use crate::shared::{Core, Making, Ref, Ring};
use crate::Errno;

/// With so many entries a ring begins.
const ENTRIES_FIRST: usize = 4;

/// Makes queues.
#[derive(Clone)]
pub struct Builder<'a> {
    name: &'a CStr,
    config: Config,
    capacity: usize,
    entries: usize,
    timeout: Timeout,
    close_policy: ClosePolicy,
    client: u64,
}

/// Why a queue could not be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum BuildError {
    /// Something that the builder was told cannot work.
    Config(ConfigError),
    /// The device is unbound, or went with this error.
    Device(Errno),
    /// There is no memory.
    NoMemory,
}

impl From<BuildError> for Error {
    fn from(error: BuildError) -> Self {
        match error {
            BuildError::Config(_) => EINVAL,
            BuildError::Device(error) => crate::to_error(error),
            BuildError::NoMemory => ENOMEM,
        }
    }
}

impl From<kernel::alloc::AllocError> for BuildError {
    fn from(_: kernel::alloc::AllocError) -> Self {
        Self::NoMemory
    }
}

impl<'a> Builder<'a> {
    pub(super) fn new(name: &'a CStr) -> Self {
        Self {
            name,
            config: Config::default(),
            capacity: 512,
            entries: ENTRIES_FIRST,
            timeout: Timeout::Inherit,
            close_policy: ClosePolicy::Cancel,
            client: 0,
        }
    }

    /// The most jobs that may be prepared or unfinished: a power of two from 2 to 32768; 512 if not
    /// said. The ring begins small and grows at prepare.
    pub fn capacity(mut self, jobs: usize) -> Self {
        self.capacity = jobs;
        self
    }

    /// With how many entries the ring begins: a power of two from 2 to the capacity; 4 if not said.
    /// For queues whose jobs are prepared where the ring cannot grow.
    pub fn entries(mut self, entries: usize) -> Self {
        self.entries = entries;
        self
    }

    /// Credits that jobs on the hardware may hold together; 64 if not said.
    pub fn credits(mut self, credits: u32) -> Self {
        self.config.credits = credits;
        self
    }

    /// Whether submitters run jobs themselves where nothing is in the way. Only where the driver's
    /// run callback may be called wherever jobs are submitted.
    pub fn bypass(mut self, bypass: bool) -> Self {
        self.config.bypass = bypass;
        self
    }

    /// How long the job at the head of the line may be on the hardware.
    pub fn timeout(mut self, timeout: impl Into<Timeout>) -> Self {
        self.timeout = timeout.into();
        self
    }

    /// How many guilty jobs ban the queue.
    pub fn ban(mut self, ban: Ban) -> Self {
        self.config.ban = Some(ban);
        self
    }

    /// How long closing may take before what is left is cancelled and asked about for the last
    /// time.
    pub fn close_timeout(mut self, timeout: Duration) -> Self {
        self.config.close_timeout = Some(timeout);
        self
    }

    /// How often one job's time may be extended.
    pub fn extensions(mut self, most: u8) -> Self {
        self.config.extensions_max = most;
        self
    }

    /// What happens to a job one of whose dependencies fails.
    pub fn on_dependency_error(mut self, what: OnDependencyError) -> Self {
        self.config.on_dependency_error = what;
        self
    }

    /// What happens to jobs that have not run when the queue is closed or its handle dropped.
    pub fn close_policy(mut self, policy: ClosePolicy) -> Self {
        self.close_policy = policy;
        self
    }

    /// The sequence number of the first job; 1 if not said.
    pub fn first_seqno(mut self, seqno: u64) -> Self {
        self.config.first_seqno = seqno;
        self
    }

    /// Whom the jobs are for, as `client_id` of trace events says.
    pub fn client(mut self, client: u64) -> Self {
        self.client = client;
        self
    }

    /// Makes a queue whose jobs give out fences. Allocates by `flags`.
    ///
    /// # Errors
    ///
    /// [`BuildError`]; the driver's value is dropped.
    pub fn build<D: Driver>(
        self,
        device: &Device,
        executor: &Arc<Executor>,
        driver: D,
        flags: Flags,
    ) -> Result<Queue<D, Normal>, BuildError> {
        self.make(device, executor, driver, flags)
    }

    /// Makes a queue whose jobs give out none. Allocates by `flags`.
    ///
    /// # Errors
    ///
    /// [`BuildError`]; the driver's value is dropped.
    pub fn build_long_running<D: Driver>(
        self,
        device: &Device,
        executor: &Arc<Executor>,
        driver: D,
        flags: Flags,
    ) -> Result<Queue<D, LongRunning>, BuildError> {
        self.make(device, executor, driver, flags)
    }

    fn make<D: Driver, M: Mode>(
        mut self,
        device: &Device,
        executor: &Arc<Executor>,
        driver: D,
        flags: Flags,
    ) -> Result<Queue<D, M>, BuildError> {
        let most = ringfence_core::queue::ENTRIES_MAX;
        if !self.capacity.is_power_of_two() || !(2..=most).contains(&self.capacity) {
            return Err(BuildError::Config(ConfigError::Entries));
        }
        self.config.timeout = self.timeout.or(device.scope.timeout()).span();
        let no_memory = |_: Error| BuildError::NoMemory;
        let ring = Ring::new(self.capacity.min(self.entries), flags).map_err(no_memory)?;
        let core = Core::<D>::new(self.config, ring).map_err(BuildError::Config)?;
        let device_name = device.scope.c_name();
        let timeline = Timeline::new(device_name, self.name, flags).map_err(no_memory)?;
        let making = Making {
            core,
            // At most 32768, as looked at above.
            capacity: self.capacity as u32,
            driver,
            timeline,
            executor: executor.clone(),
            scope: device.scope.clone(),
            client: self.client,
        };
        let shared = Ref::new(making, flags).map_err(no_memory)?;
        let member: NonNull<dyn Member> = shared.as_ptr();
        let added = device.scope.add(member);
        let queue = Queue::new(shared, self.close_policy);
        match added {
            Ok(()) => Ok(queue),
            Err(Refused::Unbound) => Err(BuildError::Device(Errno::ENODEV)),
            Err(Refused::Gone(error)) => Err(BuildError::Device(error)),
        }
    }
}
