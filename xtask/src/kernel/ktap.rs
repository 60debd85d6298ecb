// SPDX-License-Identifier: GPL-2.0 OR MIT
//! KUnit's results, from a kernel's log.
//!
//! KTAP nests by indentation: a document has a plan and that many results, and what stands
//! deeper before a result belongs to it. Anything else in between is what a test had to say.

/// What became of a test.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    Passed,
    Failed,
    Skipped,
}

/// A suite, a case, or a case's parameter.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Test {
    pub(crate) name: String,
    pub(crate) outcome: Outcome,
    pub(crate) parts: Vec<Test>,
    /// What was said while it ran.
    pub(crate) said: Vec<String>,
}

/// Passed, failed and skipped, each test without parts once.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct Count {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    pub(crate) skipped: usize,
}

/// All the suites of a log, and what the log lacks.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub(crate) struct Results {
    pub(crate) suites: Vec<Test>,
    pub(crate) incomplete: Vec<String>,
}

impl Test {
    pub(crate) fn count(&self) -> Count {
        let mut count = Count::default();
        for part in &self.parts {
            count.add(part.count());
        }
        // A suite fails with its cases; one that fails alone, in its setup, is a failure itself.
        match self.outcome {
            Outcome::Passed if self.parts.is_empty() => count.passed += 1,
            Outcome::Failed if count.failed == 0 => count.failed += 1,
            Outcome::Skipped if self.parts.is_empty() => count.skipped += 1,
            _ => {}
        }
        count
    }

    /// The tests that failed, each under the names it is in, without those that only contain one.
    pub(crate) fn failures(&self) -> Vec<(String, &[String])> {
        let mut found = Vec::new();
        for part in &self.parts {
            for (name, said) in part.failures() {
                found.push((format!("{}.{name}", self.name), said));
            }
        }
        if found.is_empty() && self.outcome == Outcome::Failed {
            found.push((self.name.clone(), self.said.as_slice()));
        }
        found
    }
}

impl Count {
    pub(crate) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl Results {
    pub(crate) fn count(&self) -> Count {
        let mut count = Count::default();
        for suite in &self.suites {
            count.add(suite.count());
        }
        count
    }

    pub(crate) fn parse<'a>(lines: impl IntoIterator<Item = &'a str>) -> Self {
        let mut parser = Parser::default();
        for line in lines {
            parser.line(line);
        }
        parser.close_to(0);
        parser.results
    }
}

/// A document that is being read.
#[derive(Default)]
struct Level {
    indent: usize,
    name: String,
    plan: Option<usize>,
    results: Vec<Test>,
    said: Vec<String>,
}

#[derive(Default)]
struct Parser {
    /// The documents we are in, outermost first.
    levels: Vec<Level>,
    results: Results,
}

impl Parser {
    fn line(&mut self, line: &str) {
        let text = line.trim_start();
        let indent = line.len() - text.len();
        if text.starts_with("KTAP version ") {
            self.open(indent);
        } else if let Some((outcome, number, name)) = result(text) {
            self.result(indent, outcome, number, name);
        } else if let Some(plan) = plan(text) {
            match self.levels.last_mut() {
                Some(level) if level.indent == indent => level.plan = Some(plan),
                _ => self.say(text),
            }
        } else if let Some(name) = text.strip_prefix("# Subtest: ") {
            match self.levels.last_mut() {
                Some(level) if level.indent == indent => name.clone_into(&mut level.name),
                _ => self.say(text),
            }
        } else {
            self.say(text);
        }
    }

    fn open(&mut self, indent: usize) {
        // A second document at the same depth: what came before it has no result of its own.
        self.close_to(indent);
        self.levels.push(Level {
            indent,
            ..Level::default()
        });
    }

    /// Ends documents that nothing outside has taken.
    fn close_to(&mut self, indent: usize) {
        while self
            .levels
            .last()
            .is_some_and(|level| level.indent >= indent)
        {
            let Some(level) = self.levels.pop() else {
                return;
            };
            self.check_plan(&level);
            match self.levels.last_mut() {
                None => self.results.suites.extend(level.results),
                Some(outer) => {
                    // What was done is shown, and that it was not all.
                    outer.results.push(Test {
                        name: level.name.clone(),
                        outcome: Outcome::Failed,
                        parts: level.results,
                        said: level.said,
                    });
                    self.lacks(format!("{} has no result", level.name));
                }
            }
        }
    }

    fn result(&mut self, indent: usize, outcome: Outcome, number: usize, name: &str) {
        let mut parts = Vec::new();
        let mut said = Vec::new();
        // Documents deeper than this result are its own.
        while self
            .levels
            .last()
            .is_some_and(|level| level.indent > indent)
        {
            let Some(level) = self.levels.pop() else {
                break;
            };
            self.check_plan(&level);
            if level.name != name && !level.name.is_empty() {
                self.lacks(format!("{} has no result", level.name));
            }
            parts = level.results;
            said = level.said;
        }
        let Some(level) = self.levels.last_mut() else {
            return self.lacks(format!("a result outside of all suites: {name}"));
        };
        if level.indent != indent {
            return self.lacks(format!("a result at the wrong depth: {name}"));
        }
        said.append(&mut level.said);
        level.results.push(Test {
            name: name.to_owned(),
            outcome,
            parts,
            said,
        });
        if level.results.len() != number {
            let wanted = level.results.len();
            self.lacks(format!(
                "result {wanted} is missing before {number}, {name}"
            ));
        }
    }

    fn check_plan(&mut self, level: &Level) {
        let name = match level.name.as_str() {
            "" => "KUnit",
            name => name,
        };
        match level.plan {
            Some(plan) if plan == level.results.len() => {}
            Some(plan) => self.lacks(format!("{name}: {} results of {plan}", level.results.len())),
            // Parameters that are generated while they run are not counted before.
            None if level.indent >= 8 => {}
            None => self.lacks(format!(
                "{name} does not say how many results there will be"
            )),
        }
    }

    fn lacks(&mut self, what: String) {
        self.results.incomplete.push(what);
    }

    fn say(&mut self, text: &str) {
        let is_summary = text.starts_with("# module: ") || text.starts_with("# Totals: ");
        if let Some(level) = self
            .levels
            .last_mut()
            .filter(|_| !is_summary && !text.is_empty())
        {
            level.said.push(text.to_owned());
        }
    }
}

/// `ok 1 name # SKIP why`.
fn result(text: &str) -> Option<(Outcome, usize, &str)> {
    let (ok, rest) = match text.strip_prefix("not ok ") {
        Some(rest) => (false, rest),
        None => (true, text.strip_prefix("ok ")?),
    };
    let (number, rest) = rest.split_once(' ').unwrap_or((rest, ""));
    let number = number.parse().ok()?;
    let rest = rest.strip_prefix("- ").unwrap_or(rest);
    let (name, directive) = rest.split_once(" # ").unwrap_or((rest, ""));
    let outcome = match (ok, directive.starts_with("SKIP")) {
        (_, true) => Outcome::Skipped,
        (true, false) => Outcome::Passed,
        (false, false) => Outcome::Failed,
    };
    Some((outcome, number, name.trim()))
}

/// `1..12`.
fn plan(text: &str) -> Option<usize> {
    text.strip_prefix("1..")?.parse().ok()
}

#[cfg(test)]
#[path = "ktap/tests.rs"]
mod tests;
