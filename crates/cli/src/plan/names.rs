// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Names of queues and streams, and the groups that `count` makes of them.

use std::collections::HashMap;
use std::ops::Range;

use super::diagnostic::{nearest, Diagnostic};
use super::reader::{clip, At};

/// What a name stands for: `count` neighbours from `start` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Selection {
    /// The place of the table in the plan.
    pub(crate) group: usize,
    /// The place of the first member.
    pub(crate) start: usize,
    /// How many members there are.
    pub(crate) count: usize,
}

/// All the names of one sort.
pub(crate) struct Names {
    noun: &'static str,
    order: Vec<String>,
    groups: HashMap<String, Selection>,
    total: usize,
}

impl Names {
    /// Gathers the names of `tables` with their counts, and notes those that clash.
    pub(crate) fn gather<'a>(
        noun: &'static str,
        text: &str,
        tables: impl Iterator<Item = (&'a At<String>, u64)> + Clone,
        problems: &mut Vec<Diagnostic>,
    ) -> Self {
        let mut names = Self {
            noun,
            order: Vec::new(),
            groups: HashMap::new(),
            total: 0,
        };
        let mut first: HashMap<&str, Range<usize>> = HashMap::new();
        let ends: Vec<usize> = text.match_indices('\n').map(|(at, _)| at).collect();
        let line = |at: usize| ends.partition_point(|&end| end < at) + 1;
        for (group, (name, count)) in tables.clone().enumerate() {
            let count = usize::try_from(count).unwrap_or(usize::MAX);
            let selection = Selection {
                group,
                start: names.total,
                count,
            };
            names.total = names.total.saturating_add(count);
            if let Some(earlier) = first.get(name.value.as_str()) {
                if !name.value.is_empty() {
                    problems.push(names.clash(name, &name.value, line(earlier.start)));
                }
                continue;
            }
            first.insert(&name.value, name.span.clone());
            if !name.value.is_empty() {
                names.order.push(name.value.clone());
            }
            names.groups.insert(name.value.clone(), selection);
        }
        for (name, _) in tables {
            if let Some((base, _)) = names.member(&name.value) {
                let earlier = first.get(base).map_or(1, |span| line(span.start));
                problems.push(names.clash(name, base, earlier));
            }
        }
        names
    }

    fn clash(&self, name: &At<String>, with: &str, line: usize) -> Diagnostic {
        let noun = self.noun;
        let message = if with == name.value {
            format!("a second {noun} is called {:?}", clip(&name.value))
        } else {
            format!(
                "{:?} is also a member of the group {with:?}",
                clip(&name.value)
            )
        };
        Diagnostic::new(name.span.clone(), message)
            .note("help", format!("the first one is on line {line}"))
            .write(format!("name = \"{}-b\"", clip(&name.value)))
    }

    /// How many members all the groups have together.
    pub(crate) fn total(&self) -> usize {
        self.total
    }

    /// Reads `name` as a member of a group.
    fn member<'a>(&self, name: &'a str) -> Option<(&'a str, Selection)> {
        let (base, digits) = name.rsplit_once('-')?;
        let group = self.groups.get(base).filter(|group| group.count > 1)?;
        let at: usize = digits.parse().ok().filter(|&at| at < group.count)?;
        // Only the number as this program writes it: no leading zero or sign.
        (at.to_string() == digits).then_some((
            base,
            Selection {
                start: group.start + at,
                count: 1,
                ..*group
            },
        ))
    }

    /// Looks a name up, and says what was meant where there is none such. In a list, which is what
    /// `key` "after" stands for, the name alone is what to write.
    pub(crate) fn find(&self, name: &At<String>, key: &str) -> Result<Selection, Diagnostic> {
        if let Some(&group) = self.groups.get(&name.value) {
            return Ok(group);
        }
        if let Some((_, member)) = self.member(&name.value) {
            return Ok(member);
        }
        let found = clip(&name.value);
        let message = format!("no {} is called {found:?}", self.noun);
        let shown: Vec<&str> = self.order.iter().take(12).map(String::as_str).collect();
        let more = if self.order.len() > shown.len() {
            ", ..."
        } else {
            ""
        };
        let problem = Diagnostic::new(name.span.clone(), message);
        if let Some(range) = self.out_of_group(&name.value) {
            return Err(problem.expected(range));
        }
        let problem = match shown.is_empty() {
            true => problem,
            false => problem.expected(format!("one of {}{more}", shown.join(", "))),
        };
        Err(
            match nearest(&name.value, self.order.iter().take(256).map(String::as_str)) {
                Some(meant) if key == "after" => problem.write(format!("\"{meant}\"")),
                Some(meant) => problem.write(format!("{key} = \"{meant}\"")),
                None => problem.note("help", format!("add a [[{}]] with this name", self.noun)),
            },
        )
    }

    fn out_of_group(&self, name: &str) -> Option<String> {
        let (base, digits) = name.rsplit_once('-')?;
        let group = self.groups.get(base).filter(|group| group.count > 1)?;
        digits.parse::<u128>().ok()?;
        Some(format!(
            "{base:?} for the whole group, or {base}-0 to {base}-{}",
            group.count - 1
        ))
    }
}

/// The name of member `at` of a group of `count`.
pub(crate) fn member_name(base: &str, at: usize, count: usize) -> String {
    if count == 1 {
        base.to_owned()
    } else {
        format!("{base}-{at}")
    }
}
