// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The event log: one line for each event of a run, the same on every run of the same seed.

use std::fmt;

use ringfence_core::{Context, Errno, Outcome};

macro_rules! events {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// What happened: something that core was told, that it asked for, or that the device did.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[repr(u8)]
        pub enum Event {
            $($(#[$doc])* $name,)*
        }

        impl Event {
            /// The word in the log.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

events! {
    /// A client prepared a job.
    Prepare = "prepare",
    /// It let a prepared one go.
    Release = "release",
    /// The host set rooms aside for jobs to come.
    SetAside = "set-aside",
    /// It gave some of them back.
    PutBack = "put-back",
    /// It moved the line into other storage.
    MoveInto = "move-into",
    /// A client armed a prepared job.
    Arm = "arm",
    /// It submitted one.
    Submit = "submit",
    /// It wished one cancelled.
    Cancel = "cancel",
    /// A dependency of a job has signalled.
    Dependency = "dependency",
    /// Resources may be there again.
    Resource = "resource",
    /// A foreign fence signals.
    Foreign = "foreign-fence",
    /// The worker comes.
    Enter = "worker-enters",
    /// It leaves.
    Leave = "worker-leaves",
    /// A completion is reported.
    Complete = "complete",
    /// The run callback begins.
    RunBegins = "run-begins",
    /// It has returned.
    RunReturned = "run-returned",
    /// Runs are handed back.
    HandBack = "hand-back",
    /// A fence is being signalled.
    FenceBegins = "fence-begins",
    /// It has signalled.
    Signalled = "signalled",
    /// The timeout callback begins.
    TimeoutBegins = "timeout-begins",
    /// It has returned.
    Verdict = "timeout-returned",
    /// The queue's timer fires.
    Timer = "timer-fires",
    /// Its head's time is ended.
    Trigger = "trigger-timeout",
    /// It is killed.
    Kill = "kill",
    /// Its driver goes away.
    Unbind = "unbind",
    /// It is closed.
    Close = "close",
    /// The last handle on it goes.
    Abandon = "abandon",
    /// It is suspended.
    Suspend = "suspend",
    /// It is resumed.
    Resume = "resume",
    /// It is stopped.
    Stop = "stop",
    /// It is started.
    Start = "start",
    /// The walk asks for a job.
    Walk = "walk",
    /// The walk gives it back.
    Walked = "walked",
    /// The replay callback begins.
    Replay = "replay",
    /// It has returned.
    Replayed = "replay-returned",
    /// A strike is counted.
    Strike = "strike",
    /// Core hands out: signal.
    TakeSignal = "take-signal",
    /// Core hands out: run.
    TakeRun = "take-run",
    /// Core hands out: timed out.
    TakeTimedOut = "take-timed-out",
    /// Core hands out: drop the payload.
    TakeReap = "take-reap",
    /// Core hands out: set the timer.
    TakeArmTimer = "take-arm-timer",
    /// Core hands out: kick the worker.
    TakeKick = "take-kick",
    /// Core hands out: recover.
    TakeRecover = "take-recover",
    /// Core hands out: closed.
    TakeClosed = "take-closed",
    /// The device finished a job.
    DeviceDone = "device-done",
    /// An interrupt arrives.
    Interrupt = "interrupt",
    /// Something goes wrong with the device.
    Fault = "fault",
    /// A reset begins.
    ResetBegins = "reset-begins",
    /// It is over.
    ResetEnds = "reset-ends",
    /// A recovery begins.
    RecoveryBegins = "recovery-begins",
    /// It is over.
    RecoveryEnds = "recovery-ends",
    /// The liveness phase begins.
    Liveness = "liveness-begins",
    /// Somebody sets the queue's gate.
    Gate = "gate",
    /// Core hands out: report to the gate.
    TakeGate = "take-gate",
    /// A report arrives.
    Report = "report-arrives",
}

/// What else there is to say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Detail {
    /// Nothing.
    Nothing,
    /// How a job ended.
    Outcome(Outcome),
    /// A number: of an attempt, a time, a count, as the event says.
    Number(u64),
    /// An error number.
    Error(Errno),
    /// A word or two.
    Text(&'static str),
}

impl Detail {
    /// The same for the same detail, on every machine.
    pub(crate) fn word(self) -> u64 {
        match self {
            Self::Nothing => 0,
            Self::Outcome(outcome) => {
                let kind = match outcome {
                    Outcome::Completed => 1,
                    Outcome::Failed(_) => 2,
                    Outcome::Cancelled(_) => 3,
                    Outcome::TimedOut(_) => 4,
                };
                let error = outcome.result().err().map_or(0, |e| e.get().unsigned_abs());
                kind << 32 | u64::from(error)
            }
            Self::Number(number) => number ^ 0x5555,
            Self::Error(error) => 5 << 32 | u64::from(error.get().unsigned_abs()),
            Self::Text(text) => text
                .bytes()
                .fold(6, |word: u64, byte| word.rotate_left(7) ^ u64::from(byte)),
        }
    }
}

impl From<Result<(), Errno>> for Detail {
    fn from(result: Result<(), Errno>) -> Self {
        result.map_or_else(Self::Error, |()| Self::Text("ok"))
    }
}

/// One line of the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LogLine {
    /// Virtual time in nanoseconds.
    pub time: u64,
    /// The operation of the plan; those of the liveness phase come after the last.
    pub step: u32,
    /// The queue, where it is one's.
    pub queue: Option<u8>,
    /// The job, by sequence number.
    pub job: Option<u64>,
    /// The context of the visit.
    pub context: Option<Context>,
    /// What happened.
    pub event: Event,
    /// What else there is to say.
    pub detail: Detail,
}

impl LogLine {
    /// The heading: what the columns are.
    pub const COLUMNS: &'static str =
        "time/ns    step  queue  job                   context  event             detail";
}

impl fmt::Display for LogLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<10} {:<5} ", self.time, self.step)?;
        match self.queue {
            Some(queue) => write!(f, "{queue:<6} ")?,
            None => f.write_str("-      ")?,
        }
        match self.job {
            Some(job) => write!(f, "{job:<21} ")?,
            None => write!(f, "{:<21} ", "-")?,
        }
        let context = match self.context {
            None => "-",
            Some(Context::Irq) => "irq",
            Some(Context::Nested) => "nested",
            Some(Context::Task) => "task",
            Some(Context::Submit) => "submit",
            Some(Context::Worker) => "worker",
        };
        write!(f, "{context:<8} {:<17} ", self.event.name())?;
        match self.detail {
            Detail::Nothing => f.write_str("-"),
            Detail::Outcome(outcome) => write!(f, "{outcome:?}"),
            Detail::Number(number) => write!(f, "{number}"),
            Detail::Error(error) => write!(f, "{error}"),
            Detail::Text(text) => f.write_str(text),
        }
    }
}

/// Counts events, keeps their hash, and their lines where somebody wants to read them.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    pub(crate) events: u64,
    pub(crate) hash: u64,
    pub(crate) keep: bool,
    pub(crate) lines: Vec<LogLine>,
}

impl Recorder {
    pub(crate) fn reset(&mut self, keep: bool) {
        self.events = 0;
        self.hash = 0xcbf2_9ce4_8422_2325;
        self.keep = keep;
        self.lines.clear();
    }

    #[inline]
    pub(crate) fn record(&mut self, line: LogLine) {
        self.events += 1;
        let place = u64::from(line.queue.unwrap_or(255)) << 40
            | (line.event as u64) << 32
            | line.context.map_or(7, |context| context as u64) << 48
            | u64::from(line.step);
        let mut hash = self.hash ^ place;
        hash = (hash ^ line.time.rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        hash ^= line.job.map_or(1, |job| job.wrapping_mul(2)) ^ line.detail.word();
        self.hash = hash.wrapping_mul(0xd6e8_feb8_6659_fd93).rotate_left(29);
        if self.keep {
            self.lines.push(line);
        }
    }
}
