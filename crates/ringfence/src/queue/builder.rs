// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Making a queue.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use ringfence_core::{Ban, ClosePolicy, Config, ConfigError, OnDependencyError, Timeout};

use super::{LongRunning, Mode, Normal, Queue};
use crate::device::{self, Device, Member};
use crate::driver::Driver;
use crate::executor::Executor;
use crate::fence::{Timeline, TimelineName};
use crate::gate::{Gate, GateControl};
use crate::observe::Observer;
use crate::shared::{Core, Element, Making, Shared};
use crate::Errno;

/// Makes a queue.
#[derive(Clone)]
pub struct Builder {
    name: String,
    capacity: usize,
    timeout: Timeout,
    config: Config,
    close_policy: ClosePolicy,
    observer: Option<Arc<dyn Observer>>,
    gate: Option<Arc<dyn Gate>>,
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("name", &self.name)
            .field("capacity", &self.capacity)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

/// Why a queue could not be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The builder was told something that cannot work.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The device scope has ended.
    #[error("the device is unbound")]
    Unbound,
    /// The device is gone, or its recovery has panicked: with this error.
    #[error("the device is gone ({0})")]
    Gone(Errno),
}

impl Builder {
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            capacity: 64,
            timeout: Timeout::Inherit,
            config: Config::default(),
            close_policy: ClosePolicy::Cancel,
            observer: None,
            gate: None,
        }
    }

    /// How many jobs can be prepared or unfinished at a time: a power of two. 64 if not said.
    pub fn capacity(mut self, jobs: usize) -> Self {
        self.capacity = jobs;
        self
    }

    /// Credits that jobs on the hardware may hold together. 64 if not said.
    pub fn credits(mut self, credits: u32) -> Self {
        self.config.credits = credits;
        self
    }

    /// Whether a submitter may run its job itself, where nothing is in the way. Off if not said.
    pub fn bypass(mut self, bypass: bool) -> Self {
        self.config.bypass = bypass;
        self
    }

    /// How long the job at the head of the line may be on the hardware, where the job itself says
    /// nothing. What the device says if not said, and where that says nothing, what the process says
    /// ([`set_default_timeout`](crate::set_default_timeout)) when the queue is built.
    pub fn timeout(mut self, timeout: impl Into<Timeout>) -> Self {
        self.timeout = timeout.into();
        self
    }

    /// How many guilty jobs ban the queue. None do if not said.
    pub fn ban(mut self, ban: Ban) -> Self {
        self.config.ban = Some(ban);
        self
    }

    /// How long closing may take. Then jobs that have not run are cancelled, and the driver is
    /// asked about each one on the hardware, for the last time: what it does not end, ends with
    /// `ETIME`. As long as the jobs take if not said.
    pub fn close_timeout(mut self, timeout: Duration) -> Self {
        self.config.close_timeout = Some(timeout);
        self
    }

    /// How often one job's timeout may be extended. 8 if not said.
    pub fn extensions(mut self, most: u8) -> Self {
        self.config.extensions_max = most;
        self
    }

    /// What happens to a job one of whose dependencies failed. It fails too if not said.
    pub fn on_dependency_error(mut self, what: OnDependencyError) -> Self {
        self.config.on_dependency_error = what;
        self
    }

    /// What happens to jobs that have not run when the queue is closed or dropped. They are
    /// cancelled if not said.
    pub fn close_policy(mut self, policy: ClosePolicy) -> Self {
        self.close_policy = policy;
        self
    }

    /// The first job's sequence number. 1 if not said.
    pub fn first_seqno(mut self, seqno: u64) -> Self {
        self.config.first_seqno = seqno;
        self
    }

    /// Who watches. Nobody if not said, which costs nothing.
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observer = Some(observer);
        self
    }

    /// Who says when the queue may run; its gate is shut at first. Nobody if not said, which costs
    /// nothing. A gate cannot tell queues apart, so it is for one.
    pub fn gate(mut self, gate: Arc<dyn Gate>) -> Self {
        self.config.gated = true;
        self.gate = Some(gate);
        self
    }

    /// Makes the queue in the scope of `device`, run by `executor`. Allocates all the memory the
    /// queue itself will ever use.
    ///
    /// # Errors
    ///
    /// [`BuildError`], with nothing made.
    pub fn build<D: Driver>(
        self,
        device: &Device,
        executor: impl Into<Arc<dyn Executor>>,
        driver: D,
    ) -> Result<Queue<D, Normal>, BuildError> {
        self.build_in_mode(device, executor.into(), driver)
    }

    /// As [`Builder::build`], for jobs that may run for ever: such a queue gives out no fences.
    ///
    /// # Errors
    ///
    /// [`BuildError`], with nothing made.
    pub fn build_long_running<D: Driver>(
        self,
        device: &Device,
        executor: impl Into<Arc<dyn Executor>>,
        driver: D,
    ) -> Result<Queue<D, LongRunning>, BuildError> {
        self.build_in_mode(device, executor.into(), driver)
    }

    fn build_in_mode<D: Driver, M: Mode>(
        self,
        device: &Device,
        executor: Arc<dyn Executor>,
        driver: D,
    ) -> Result<Queue<D, M>, BuildError> {
        let wider = device.scope.timeout().or(crate::clock::default_timeout());
        let config = Config {
            timeout: self.timeout.or(wider).span(),
            ..self.config
        };
        let entries = (0..self.capacity).map(|_| Element::FREE).collect();
        let core = Core::new(config, entries)?;
        let (signaller, closed) = Timeline::new(&format!("{} closed", self.name)).signaller();
        let shared = Shared::new(Making {
            core,
            driver,
            timeline: TimelineName::new(&self.name),
            name: self.name.into(),
            executor,
            scope: Arc::clone(&device.scope),
            observer: self.observer,
            gate: self.gate.clone(),
            closed: signaller,
        });
        let queue = Queue {
            shared,
            close_policy: self.close_policy,
            closed,
            _mode: PhantomData,
        };
        // Before anybody else knows the queue, and so before it can end.
        if let Some(gate) = self.gate {
            gate.attached(GateControl::new(&queue.shared));
        }
        let member = Arc::clone(&queue.shared) as Arc<dyn Member>;
        match device.scope.add(&member) {
            Ok(()) => Ok(queue),
            Err(device::Refused::Unbound) => Err(BuildError::Unbound),
            Err(device::Refused::Gone(error)) => Err(BuildError::Gone(error)),
        }
    }
}
