// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What a queue has counted since it was made.

/// Counts of one queue. They only grow.
///
/// `armed = completed + failed + cancelled + timed_out + jobs that have not signalled`, and
/// `prepared = armed + released + jobs prepared now`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Rooms reserved.
    pub prepared: u64,
    /// Sequence numbers taken.
    pub armed: u64,
    /// Jobs handed to the queue.
    pub submitted: u64,
    /// Run callbacks handed out, repeats after no resources and those handed back included.
    pub runs: u64,
    /// Of those, by a submitter.
    pub bypassed: u64,
    /// Jobs that ended well.
    pub completed: u64,
    /// Fences handed out for signalling: `completed + failed + cancelled + timed_out`.
    pub signalled: u64,
    /// Payloads handed out for dropping.
    pub reaped: u64,
    /// Rooms given back without a job.
    pub released: u64,
    /// Dependencies that were open at submit.
    pub dependencies: u64,
    /// Run callbacks that found no resources.
    pub no_resources: u64,
    /// Timeout callbacks handed out.
    pub timeouts: u64,
    /// Extensions granted.
    pub extensions: u64,
    /// Completions that came twice, too late or for an unknown job.
    pub late_completions: u64,
    /// Jobs that ended with an error.
    pub failed: u64,
    /// Jobs that never ran because they were not wanted any more.
    pub cancelled: u64,
    /// Jobs that hung.
    pub timed_out: u64,
    /// Times the worker was kicked.
    pub kicks: u64,
    /// Replays: jobs put on the hardware again after a reset.
    pub replays: u64,
    /// Guilty jobs.
    pub strikes: u64,
    /// Recoveries that timeout callbacks asked for.
    pub recoveries: u64,
}

/// What is counted of jobs that do not go the ordinary way. The rest of [`Stats`] follows from
/// these, the runs and the cursors.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) kicks: u64,
    pub(crate) dependencies: u64,
    pub(crate) released: u64,
    pub(crate) no_resources: u64,
    pub(crate) timeouts: u64,
    pub(crate) extensions: u64,
    pub(crate) late_completions: u64,
    pub(crate) failed: u64,
    pub(crate) cancelled: u64,
    pub(crate) timed_out: u64,
    pub(crate) replays: u64,
    pub(crate) strikes: u64,
    pub(crate) recoveries: u64,
}
