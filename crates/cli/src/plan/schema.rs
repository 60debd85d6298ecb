// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Every key a plan can have. The reader, its messages and the test of `docs/plans.md` use this.

/// A key: its name, and a value that could stand there.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// The key as it is written.
    pub name: &'static str,
    /// A whole line with a sensible value.
    pub example: &'static str,
    /// Whether it must be there.
    pub required: bool,
}

/// A table of a plan and the keys that may stand in it.
#[derive(Clone, Copy, Debug)]
pub struct Section {
    /// How the table is called in messages and in the documentation: `[[queue]]`.
    pub title: &'static str,
    /// Its keys.
    pub keys: &'static [Key],
}

impl Section {
    /// The key called `name`.
    pub fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }
}

const fn must(name: &'static str, example: &'static str) -> Key {
    Key {
        name,
        example,
        required: true,
    }
}

const fn may(name: &'static str, example: &'static str) -> Key {
    Key {
        name,
        example,
        required: false,
    }
}

/// The plan itself.
pub const PLAN: Section = Section {
    title: "the plan",
    keys: &[
        must("name", "name = \"my plan\""),
        may("description", "description = \"What it shows.\""),
        may("seed", "seed = 1"),
        may("device", "[device]"),
        may("orchestrator", "[orchestrator]"),
        must("queue", "[[queue]]"),
        must("stream", "[[stream]]"),
        may("fault", "[[fault]]"),
        may("storm", "[[storm]]"),
        may("event", "[[event]]"),
        may("expect", "[expect]"),
    ],
};

/// The device.
pub const DEVICE: Section = Section {
    title: "[device]",
    keys: &[
        may("slots", "slots = 4"),
        may("kinds", "kinds = { compute = 4, copy = 2 }"),
        may("vram", "vram = \"64MiB\""),
        may("time_slice", "time_slice = \"2ms\""),
        may("timeout", "timeout = \"500ms\""),
        may("recovery", "recovery = \"queue\""),
        may("standby", "standby = 1"),
    ],
};

/// How many slots of each kind a device has.
pub const KINDS: Section = Section {
    title: "`kinds` of [device]",
    keys: &[
        may("compute", "compute = 4"),
        may("copy", "copy = 2"),
        may("render", "render = 2"),
    ],
};

/// Who gives the device's slots to its queues.
pub const ORCHESTRATOR: Section = Section {
    title: "[orchestrator]",
    keys: &[
        may("policy", "policy = \"fair\""),
        may("slice", "slice = \"2ms\""),
        may("min_run", "min_run = \"500us\""),
        may("guarantee", "guarantee = 16"),
        may("lag", "lag = \"128ms\""),
        may("preemption", "preemption = true"),
        may("switch_cost", "switch_cost = \"50us\""),
        may("patience", "patience = \"500ms\""),
    ],
};

/// A queue, or a group of equal queues.
pub const QUEUE: Section = Section {
    title: "[[queue]]",
    keys: &[
        must("name", "name = \"render\""),
        may("count", "count = 1"),
        may("bypass", "bypass = true"),
        may("credits", "credits = 64"),
        may("capacity", "capacity = 64"),
        may("timeout", "timeout = \"500ms\""),
        may("extensions", "extensions = 0"),
        may("on_dependency_error", "on_dependency_error = \"cancel\""),
        may("close", "close = \"drain\""),
        may("close_timeout", "close_timeout = \"100ms\""),
        may("strikes", "strikes = 3"),
        may("strikes_within", "strikes_within = \"10s\""),
        may("after_reset", "after_reset = \"replay\""),
        may("ring", "ring = \"16KiB\""),
        may("priority", "priority = \"high\""),
        may("weight", "weight = 100"),
        may("kinds", "kinds = [\"compute\"]"),
        may("group", "group = \"pair\""),
        may("client", "client = \"browser\""),
    ],
};

/// A stream of jobs, or a group of equal streams.
pub const STREAM: Section = Section {
    title: "[[stream]]",
    keys: &[
        must("name", "name = \"frames\""),
        may("count", "count = 1"),
        must("queue", "queue = \"render\""),
        must("jobs", "jobs = 1_000"),
        may("in_flight", "in_flight = 16"),
        may("every", "every = \"16ms\""),
        may("cost", "cost = \"1..8\""),
        may("timeout", "timeout = \"100ms\""),
        may("deadline", "deadline = \"16ms\""),
        must("work", "work = \"copy\""),
        may("size", "size = \"4KiB\""),
        may("n", "n = 16"),
        may("duration", "duration = \"20us\""),
        may("after", "after = [\"uploads\"]"),
        may("after_previous", "after_previous = true"),
    ],
};

/// One command of a job, in the long form.
pub const COMMAND: Section = Section {
    title: "a command in `work`",
    keys: &[
        must("op", "op = \"copy\""),
        may("size", "size = \"4KiB\""),
        may("n", "n = 16"),
        may("duration", "duration = \"20us\""),
    ],
};

/// One dependency, in the long form.
pub const AFTER: Section = Section {
    title: "a dependency in `after`",
    keys: &[
        must("stream", "stream = \"uploads\""),
        may("last", "last = 4"),
        may("lag", "lag = 1"),
    ],
};

/// A fault to inject.
pub const FAULT: Section = Section {
    title: "[[fault]]",
    keys: &[
        must("kind", "kind = \"hang\""),
        must("stream", "stream = \"frames\""),
        may("job", "job = 10"),
        may("every", "every = 1_000"),
        may("probability", "probability = \"1%\""),
        may("delay", "delay = \"5ms\""),
        may("times", "times = 2"),
        may("error", "error = \"EIO\""),
    ],
};

/// Faults of many kinds, at random.
pub const STORM: Section = Section {
    title: "[[storm]]",
    keys: &[
        must("stream", "stream = \"frames\""),
        must("probability", "probability = \"10%\""),
        may("kinds", "kinds = [\"hang\", \"fault\"]"),
        may("delay", "delay = \"5ms\""),
        may("times", "times = 2"),
        may("error", "error = \"EIO\""),
    ],
};

/// Something that happens to the device, or changes in mid-run.
pub const EVENT: Section = Section {
    title: "[[event]]",
    keys: &[
        must("kind", "kind = \"unplug\""),
        may("after", "after = 1_000"),
        may("every", "every = 1_000"),
        may("queue", "queue = \"render\""),
        may("priority", "priority = \"low\""),
        may("weight", "weight = 300"),
    ],
};

/// What a run of the plan must end with.
pub const EXPECT: Section = Section {
    title: "[expect]",
    keys: &[
        may("completed", "completed = \"900..\""),
        may("failed", "failed = \"1..20\""),
        may("cancelled", "cancelled = 0"),
        may("timed_out", "timed_out = 1"),
        may("late", "late = \"..3\""),
        may("share_error", "share_error = \"2%\""),
        may("fairness", "fairness = \"98%\""),
        may("share_of", "share_of = [\"render\"]"),
        may("longest_wait", "longest_wait = { high = \"5ms\" }"),
    ],
};

/// All tables.
pub const SECTIONS: &[&Section] = &[
    &PLAN,
    &DEVICE,
    &KINDS,
    &ORCHESTRATOR,
    &QUEUE,
    &STREAM,
    &COMMAND,
    &AFTER,
    &FAULT,
    &STORM,
    &EVENT,
    &EXPECT,
];

/// The commands of a job; `pipeline` stands for four of them.
pub const OPS: &[&str] = &[
    "fill",
    "copy",
    "add",
    "checksum",
    "matmul",
    "spin",
    "timestamp",
    "semaphore",
    "pipeline",
];

/// The kinds of faults.
pub const FAULTS: &[&str] = &[
    "hang",
    "fault",
    "lost-interrupt",
    "late-interrupt",
    "spurious-interrupt",
    "double-interrupt",
    "bad-opcode",
    "bad-address",
    "ring-overrun",
    "firmware-death",
    "silent-death",
    "slow-reset",
    "failing-reset",
    "early-completion",
    "dependency-error",
    "cancel",
    "drop",
    "suspend",
    "stop",
    "close",
    "kill",
];

/// The kinds of events.
pub const EVENTS: &[&str] = &["unplug", "surprise-unplug", "migrate", "reset", "change"];

#[cfg(test)]
mod tests;
