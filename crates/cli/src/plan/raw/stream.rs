// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Reads a `[[stream]]`: its work and its dependencies have forms of their own.

use std::ops::RangeInclusive;

use toml::de::DeValue;
use toml::Spanned;

use super::{RawAfter, RawStream, MAX_JOBS, MAX_QUEUES, MS, S, US};
use crate::plan::diagnostic::{nearest, Diagnostic};
use crate::plan::model::{CommandPlan, Spread};
use crate::plan::reader::{clip, At, Reader};
use crate::plan::schema::{self, OPS};
use crate::plan::units::Kind;

/// The most commands in one job.
const MAX_COMMANDS: usize = 32;
/// The most entries in `after`.
const MAX_AFTER: usize = 64;
/// Sizes are in words of 8 bytes.
const WORD: u64 = 8;

/// The sizes that a command takes where it has none of its own.
#[derive(Clone, Copy)]
struct Sizes {
    size: Option<Spread>,
    n: Option<Spread>,
    duration: Option<Spread>,
}

impl Sizes {
    fn read(reader: &mut Reader<'_, '_>) -> Self {
        Self {
            size: read_size(reader),
            n: reader
                .spread("n", Kind::Count, 1..=512)
                .map(|n| Spread::new(&n.value, 1)),
            duration: reader
                .spread("duration", Kind::Duration, 1..=10 * S)
                .map(|time| Spread::new(&time.value, 1)),
        }
    }

    fn or(self, other: Self) -> Self {
        Self {
            size: self.size.or(other.size),
            n: self.n.or(other.n),
            duration: self.duration.or(other.duration),
        }
    }

    /// Adds the commands that `op` stands for.
    fn add(self, op: &str, commands: &mut Vec<CommandPlan>) {
        let size = self.size.unwrap_or(Spread::new(&(4096..=4096), WORD));
        let n = self.n.unwrap_or(Spread::new(&(16..=16), 1));
        let duration = self
            .duration
            .unwrap_or(Spread::new(&(20 * US..=20 * US), 1));
        match op {
            "fill" => commands.push(CommandPlan::Fill(size)),
            "copy" => commands.push(CommandPlan::Copy(size)),
            "add" => commands.push(CommandPlan::Add(size)),
            "checksum" => commands.push(CommandPlan::Checksum(size)),
            "matmul" => commands.push(CommandPlan::Matmul(n)),
            "spin" => commands.push(CommandPlan::Spin(duration)),
            "timestamp" => commands.push(CommandPlan::Timestamp),
            "semaphore" => commands.push(CommandPlan::Semaphore),
            "pipeline" => commands.extend([
                CommandPlan::Fill(size),
                CommandPlan::Copy(size),
                CommandPlan::Add(size),
                CommandPlan::Checksum(size),
            ]),
            // The caller has looked the word up in `OPS`.
            _ => {}
        }
    }
}

fn read_size(reader: &mut Reader<'_, '_>) -> Option<Spread> {
    let size = reader.spread("size", Kind::Size, 64..=1 << 20)?;
    let (min, max) = (*size.value.start(), *size.value.end());
    if min % WORD == 0 && max % WORD == 0 {
        return Some(Spread::new(&size.value, WORD));
    }
    let up = |bytes: u64| Kind::Size.show(bytes.next_multiple_of(WORD));
    let instead = if min == max {
        up(min)
    } else {
        format!("{}..{}", up(min), up(max))
    };
    reader.problem(
        Diagnostic::new(
            size.span,
            format!("`size` must be a multiple of {WORD} bytes"),
        )
        .write(format!("size = \"{instead}\"")),
    );
    None
}

/// Reads one stream.
pub(super) fn read(stream: &mut Reader<'_, '_>) -> RawStream {
    let nowhere = stream.span();
    let sizes = Sizes::read(stream);
    let jobs = stream.quantity("jobs", Kind::Count, 1..=MAX_JOBS);
    let work = read_work(stream, sizes);
    check_use(stream, &work);
    RawStream {
        name: stream
            .name("name")
            .unwrap_or(At::new(String::new(), nowhere.clone())),
        count: stream
            .quantity("count", Kind::Count, 1..=MAX_QUEUES)
            .map_or(1, |n| n.value),
        queue: stream.text("queue"),
        // With an unreadable number of jobs, no other number is compared with it.
        jobs: jobs.unwrap_or(At::new(0, nowhere.clone())),
        in_flight: stream
            .quantity("in_flight", Kind::Count, 1..=32_768)
            .map_or(16, |n| n.value),
        timeout: stream
            .quantity("timeout", Kind::Duration, MS..=60 * S)
            .map(|time| time.value),
        every: stream
            .quantity("every", Kind::Duration, US..=60 * S)
            .map(|every| every.value),
        deadline: stream
            .quantity("deadline", Kind::Duration, US..=60 * S)
            .map(|time| time.value),
        cost: read_cost(stream).unwrap_or(At::new(1..=1, nowhere)),
        work,
        after: read_after(stream),
        after_previous: stream.flag("after_previous").is_some_and(|flag| flag.value),
    }
}

fn read_cost(stream: &mut Reader<'_, '_>) -> Option<At<RangeInclusive<u64>>> {
    stream.spread("cost", Kind::Count, 0..=1_048_576)
}

/// Notes sizes in a table that none of the commands it speaks of uses.
fn check_use(reader: &mut Reader<'_, '_>, work: &[CommandPlan]) {
    use CommandPlan::{Add, Checksum, Copy, Fill, Matmul, Spin};
    let used = |key| {
        work.iter().any(|command| match command {
            Fill(_) | Copy(_) | Add(_) | Checksum(_) => key == "size",
            Matmul(_) => key == "n",
            Spin(_) => key == "duration",
            CommandPlan::Timestamp | CommandPlan::Semaphore => false,
        })
    };
    let commands = [
        ("size", "fill, copy, add, checksum or pipeline"),
        ("n", "matmul"),
        ("duration", "spin"),
    ];
    for (key, wanted) in commands {
        // Work that could not be read has its own message.
        if reader.get(key).is_some() && !used(key) && !work.is_empty() {
            let message = format!("`{key}` is not used by this work");
            let problem = Diagnostic::new(reader.key_span(key), message)
                .expected(format!("`{key}` only beside {wanted}"))
                .note("help", "remove this line");
            reader.problem(problem);
        }
    }
}

fn read_work<'i>(stream: &mut Reader<'_, 'i>, sizes: Sizes) -> Vec<CommandPlan> {
    let mut commands = Vec::new();
    let Some(value) = stream.get("work") else {
        return commands;
    };
    match value.get_ref() {
        DeValue::String(_) => read_command(stream, value, sizes, &mut commands),
        DeValue::Array(list) => {
            for item in list {
                read_command(stream, item, sizes, &mut commands);
            }
            if list.is_empty() {
                let problem = Diagnostic::new(value.span(), "`work` has no command");
                stream.problem(problem.write("work = [\"fill\", \"checksum\"]"));
            }
        }
        _ => stream.wrong_type("work", value, "a command or a list of commands"),
    }
    if commands.len() > MAX_COMMANDS {
        let message = format!("a job cannot have {} commands", commands.len());
        let problem = Diagnostic::new(value.span(), message);
        stream.problem(
            problem
                .expected(format!(
                    "at most {MAX_COMMANDS}, where \"pipeline\" counts as 4"
                ))
                .note("help", "split the work into several jobs"),
        );
    }
    commands
}

fn read_command<'i>(
    stream: &mut Reader<'_, 'i>,
    value: &Spanned<DeValue<'i>>,
    sizes: Sizes,
    commands: &mut Vec<CommandPlan>,
) {
    match value.get_ref() {
        DeValue::String(op) => match OPS.iter().find(|known| *known == op) {
            Some(op) => sizes.add(op, commands),
            None => {
                let op = clip(op);
                let meant = nearest(&op, OPS.iter().copied()).unwrap_or("copy");
                stream.problem(
                    Diagnostic::new(value.span(), format!("unknown command {op:?}"))
                        .expected(format!("one of {}", OPS.join(", ")))
                        .write(format!("\"{meant}\"")),
                );
            }
        },
        DeValue::Table(table) => {
            let problems = stream.problems();
            let mut command = Reader::new(&schema::COMMAND, table, value.span(), problems);
            let own = Sizes::read(&mut command).or(sizes);
            if let Some(op) = command.choice("op", OPS) {
                let first = commands.len();
                own.add(op.value, commands);
                check_use(&mut command, &commands[first..]);
            }
        }
        _ => stream.wrong_type("work", value, "a command or a list of commands"),
    }
}

fn read_after(stream: &mut Reader<'_, '_>) -> Vec<RawAfter> {
    let mut all = Vec::new();
    let Some(value) = stream.get("after") else {
        return all;
    };
    let DeValue::Array(list) = value.get_ref() else {
        let problem = Diagnostic::new(value.span(), "`after` must be a list of streams");
        stream.problem(match value.get_ref().as_str() {
            Some(name) => problem.write(format!("after = [\"{}\"]", clip(name).escape_debug())),
            None => problem.write("after = [\"uploads\"]"),
        });
        return all;
    };
    if list.len() > MAX_AFTER {
        let message = format!("`after` has {} entries", list.len());
        let problem = Diagnostic::new(value.span(), message);
        stream.problem(problem.expected(format!("at most {MAX_AFTER}")));
        return all;
    }
    for item in list {
        match item.get_ref() {
            DeValue::String(name) => {
                let stream = At::new(name.to_string(), item.span());
                all.push(RawAfter {
                    stream,
                    last: 1,
                    lag: 0,
                });
            }
            DeValue::Table(table) => {
                let problems = stream.problems();
                let mut after = Reader::new(&schema::AFTER, table, item.span(), problems);
                let last = after
                    .quantity("last", Kind::Count, 1..=64)
                    .map_or(1, |n| n.value);
                let lag = after
                    .quantity("lag", Kind::Count, 0..=MAX_JOBS)
                    .map_or(0, |n| n.value);
                if let Some(stream) = after.text("stream") {
                    all.push(RawAfter { stream, last, lag });
                }
            }
            _ => stream.wrong_type("after", item, "a list of streams"),
        }
    }
    all
}
