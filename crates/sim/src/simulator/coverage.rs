// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What runs have seen, and how often: so that a simulator that never comes to the point is
//! noticed.

use ringfence_core::state::{JobEvent, TRANSITIONS};
use ringfence_core::{Context, Effect, State};

macro_rules! sights {
    ($(#[$outer:meta])* $type:ident { $($name:ident = $text:literal,)* }) => {
        $(#[$outer])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[repr(u8)]
        pub(crate) enum $type {
            $($name,)*
        }

        impl $type {
            const NAMES: &'static [&'static str] = &[$($text,)*];
        }
    };
}

sights! {
    /// Things that go wrong or get in the way.
    Fault {
        Hang = "hang",
        LostInterrupt = "lost interrupt",
        LateInterrupt = "late interrupt",
        SpuriousInterrupt = "spurious interrupt",
        DoubleInterrupt = "double interrupt",
        EarlyCompletion = "completion before run returned",
        EarlyReplay = "completion before replay returned",
        BadJob = "fault",
        FirmwareDeath = "firmware death",
        SlowReset = "slow reset",
        FailedReset = "failing reset",
        DeviceGone = "device gone",
        Kill = "kill",
        Close = "close",
        Abandon = "last handle gone",
        Unbind = "unbind",
        Suspend = "suspend",
        Stop = "stop",
        TimerEarly = "timer early",
        TimerLate = "timer late",
        CreditStarvation = "credit starvation",
        NoResources = "no resources",
        RunFails = "run fails",
        DoneAtOnce = "done at once",
        DependencyFailure = "dependency failure",
        CrossQueue = "dependency on another queue",
        SeqnoWrap = "seqno wraps",
        StaleCompletion = "stale completion after replay",
        StrayCompletion = "stray completion",
        AbandonedJob = "job dropped between arm and submit",
        CloseInDriver = "close in driver callback",
        CloseInFence = "close in fence callback",
        KillInDriver = "kill in driver callback",
        KillInFence = "kill in fence callback",
        CompletionInTimeout = "completion while timeout is looked into",
        CompletionInWalk = "completion while walked",
        CompletionInReplay = "completion while replayed",
        CloseWhileHung = "close while hung",
        CloseOverdue = "closing overdue",
        UnbindWhileStopped = "unbind while stopped",
        StopRefused = "stop while stopped",
    }
}

sights! {
    /// What came of hangs and recoveries.
    Recovered {
        NoHang = "timeout: no hang",
        LostFound = "timeout: completion found",
        Extended = "timeout: extended",
        ExtensionsUp = "timeout: extensions used up",
        Handled = "timeout: handled",
        ResetWanted = "timeout: reset wanted",
        DeviceGone = "timeout: device gone",
        AnswerLate = "timeout: job ended meanwhile",
        QueueReset = "queue reset",
        DeviceReset = "device reset",
        Migration = "migration",
        Unplug = "unplug",
        Guilty = "guilty job ended",
        Completed = "completed job found",
        Replayed = "innocent job replayed",
        ReplayDone = "replay: done at once",
        ReplayFailed = "replay: failed",
        ReplayTooLate = "replay: job ended meanwhile",
        ReplayOverdue = "replay: closing overdue",
        Cancelled = "innocent job cancelled",
        Kept = "innocent job kept",
        Strike = "strike",
        Banned = "banned",
        RefusedBanned = "prepare refused: banned",
        Obsolete = "recovery no longer wanted",
    }
}

sights! {
    /// How jobs end and what is refused.
    End {
        Completed = "completed",
        Failed = "failed",
        Cancelled = "cancelled",
        TimedOut = "timed out",
        Full = "prepare refused: full",
        Cost = "prepare refused: cost",
        Closed = "prepare refused: closed",
        Killed = "prepare refused: killed",
        Drained = "ran after close",
        GivenUp = "cancelled by close",
        QueueClosed = "queue closed",
    }
}

sights! {
    /// What a host does about rooms, rings and gates, and how it visits.
    Hosted {
        SetAside = "rooms set aside",
        NoneLeft = "rooms set aside: none left",
        NotOpen = "rooms set aside: refused, not open",
        Aside = "room set aside used",
        AsideLate = "room set aside used after close",
        AsideCost = "room set aside refused: cost",
        PutBack = "rooms put back",
        PutBackLate = "rooms put back after close",
        Grown = "ring grown with jobs in line",
        Shrunk = "ring shrunk with jobs in line",
        TooShort = "ring refused: too short for what is in line",
        NoRing = "ring refused: no length of a ring",
        SignalsFirst = "signals taken before anything else",
        NoGate = "gate refused: none",
        GateOpened = "gate opened",
        GateYields = "gate yields",
        GateShut = "gate shut",
        GateInDriver = "gate set in driver callback",
        GateInFence = "gate set in fence callback",
        Report = "report arrives",
        OldReport = "report arrives after a newer one",
    }
}

/// Events of a job that come from outside of core, whatever the job's state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Fed {
    Complete,
    Cancel,
    Dependency,
    Resource,
    Kill,
    Close,
}

const FED: [&str; 6] = [
    "complete",
    "cancel",
    "dependency",
    "resource",
    "kill",
    "close",
];

/// Which states each fed event is to be seen in, as bits in the order of [`State::ALL`].
#[rustfmt::skip]
const FED_IN: [u8; 6] = [
    0b1111_1111, // complete: late or early in all of them
    0b1111_1111, // cancel: too late in most of them
    0b0000_0101, // dependency: while queued; refused when the job is gone
    0b0000_0100, // resource
    0b1111_1110, // kill: whatever there is
    0b1111_1110, // close
];

const EFFECTS: [&str; 9] = [
    "signal",
    "run",
    "timed out",
    "reap",
    "arm timer",
    "kick",
    "recover",
    "closed",
    "gate",
];

const CONTEXTS: [&str; 5] = ["irq", "nested", "task", "submit", "worker"];

/// Which effects are legal where: rows are contexts, bits effects. A worker needs no kick.
const LEGAL: [u16; 5] = [
    0b0_0011_1001, // irq: signal, reap (where payloads allow it), timer, kick
    0b0_0011_0000, // nested: timer, kick
    0b1_1011_1001, // task: and closed, gate
    0b1_1011_1011, // submit: and run, where bypass is on
    0b1_1101_1111, // worker
];

/// The number of an effect, for coverage and legality.
pub(crate) fn effect_index(effect: &Effect) -> usize {
    match effect {
        Effect::Signal { .. } => 0,
        Effect::Run { .. } => 1,
        Effect::TimedOut { .. } => 2,
        Effect::Reap { .. } => 3,
        Effect::ArmTimer { .. } => 4,
        Effect::Kick => 5,
        Effect::Recover { .. } => 6,
        Effect::Closed => 7,
        Effect::Gate { .. } => 8,
    }
}

/// True if core may hand out `effect` in `context` at all.
pub(crate) fn is_legal(effect: usize, context: Context) -> bool {
    LEGAL[context as usize] & 1 << effect != 0
}

/// One thing to be seen, and how often it was.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CoverageRow {
    /// Of what kind it is.
    pub group: &'static str,
    /// What it is.
    pub name: String,
    /// How often it was seen.
    pub count: u64,
}

/// What has been seen, and how often.
#[derive(Clone, Debug)]
pub struct SimCoverage {
    steps: [[u64; JobEvent::ALL.len()]; State::ALL.len()],
    fed: [[u64; State::ALL.len()]; FED.len()],
    effects: [[u64; EFFECTS.len()]; CONTEXTS.len()],
    faults: [u64; Fault::NAMES.len()],
    recoveries: [u64; Recovered::NAMES.len()],
    ends: [u64; End::NAMES.len()],
    hosted: [u64; Hosted::NAMES.len()],
}

impl Default for SimCoverage {
    fn default() -> Self {
        Self {
            steps: [[0; JobEvent::ALL.len()]; State::ALL.len()],
            fed: [[0; State::ALL.len()]; FED.len()],
            effects: [[0; EFFECTS.len()]; CONTEXTS.len()],
            faults: [0; Fault::NAMES.len()],
            recoveries: [0; Recovered::NAMES.len()],
            ends: [0; End::NAMES.len()],
            hosted: [0; Hosted::NAMES.len()],
        }
    }
}

fn add<const N: usize>(mine: &mut [u64; N], theirs: &[u64; N]) {
    for (mine, theirs) in mine.iter_mut().zip(theirs) {
        *mine += theirs;
    }
}

impl SimCoverage {
    /// Adds what other runs have seen.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.steps.iter_mut().zip(&other.steps) {
            add(mine, theirs);
        }
        for (mine, theirs) in self.fed.iter_mut().zip(&other.fed) {
            add(mine, theirs);
        }
        for (mine, theirs) in self.effects.iter_mut().zip(&other.effects) {
            add(mine, theirs);
        }
        add(&mut self.faults, &other.faults);
        add(&mut self.recoveries, &other.recoveries);
        add(&mut self.ends, &other.ends);
        add(&mut self.hosted, &other.hosted);
    }

    /// All there is to be seen, seen or not. The groups are `state x event` (every legal step of
    /// core's table, and every event from outside in every state that it can meet),
    /// `effect x context`, `fault`, `recovery`, `outcome` and `host`.
    pub fn rows(&self) -> Vec<CoverageRow> {
        let mut rows = Vec::new();
        let mut row = |group, name: String, count| rows.push(CoverageRow { group, name, count });
        for (from, event, _) in TRANSITIONS {
            let count = self.steps[*from as usize][*event as usize];
            row("state x event", format!("{from} x {event:?}"), count);
        }
        for (fed, name) in FED.iter().enumerate() {
            for state in State::ALL {
                if FED_IN[fed] & 1 << state as u8 != 0 {
                    let count = self.fed[fed][state as usize];
                    row(
                        "state x event",
                        format!("{state} x {name} from outside"),
                        count,
                    );
                }
            }
        }
        for (context, name) in CONTEXTS.iter().enumerate() {
            for (effect, what) in EFFECTS.iter().enumerate() {
                if LEGAL[context] & 1 << effect != 0 {
                    let count = self.effects[context][effect];
                    row("effect x context", format!("{what} in {name}"), count);
                }
            }
        }
        let lists: [(&'static str, &[u64], &[&str]); 4] = [
            ("fault", &self.faults, Fault::NAMES),
            ("recovery", &self.recoveries, Recovered::NAMES),
            ("outcome", &self.ends, End::NAMES),
            ("host", &self.hosted, Hosted::NAMES),
        ];
        for (group, counts, names) in lists {
            for (count, name) in counts.iter().zip(names) {
                row(group, (*name).to_string(), *count);
            }
        }
        rows
    }

    /// What should have been seen and was not, one line each.
    pub fn gaps(&self) -> Vec<String> {
        let unseen = self.rows().into_iter().filter(|row| row.count == 0);
        unseen
            .map(|row| format!("{}: {} was never seen", row.group, row.name))
            .collect()
    }

    pub(crate) fn steps(&mut self, seen: &[[u32; JobEvent::ALL.len()]; State::ALL.len()]) {
        for (mine, theirs) in self.steps.iter_mut().flatten().zip(seen.iter().flatten()) {
            *mine += u64::from(*theirs);
        }
    }

    #[inline]
    pub(crate) fn fed(&mut self, fed: Fed, state: State) {
        self.fed[fed as usize][state as usize] += 1;
    }

    #[inline]
    pub(crate) fn effect(&mut self, effect: usize, context: Context) {
        self.effects[context as usize][effect] += 1;
    }

    #[inline]
    pub(crate) fn fault(&mut self, fault: Fault) {
        self.faults[fault as usize] += 1;
    }

    #[inline]
    pub(crate) fn recovered(&mut self, what: Recovered) {
        self.recoveries[what as usize] += 1;
    }

    #[inline]
    pub(crate) fn end(&mut self, what: End) {
        self.ends[what as usize] += 1;
    }

    #[inline]
    pub(crate) fn hosted(&mut self, what: Hosted) {
        self.hosted[what as usize] += 1;
    }
}
