// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The schema against `docs/plans.md` and against the reader.

use std::collections::BTreeSet;

use super::{
    Section, AFTER, COMMAND, DEVICE, EVENT, EXPECT, FAULT, KINDS, ORCHESTRATOR, PLAN, QUEUE,
    SECTIONS, STORM, STREAM,
};

const DOCUMENT: &str = include_str!("../../../../../docs/plans.md");

/// The words in the first column of every table whose header starts with `column`, in the part of
/// the document under `heading`.
fn documented(heading: &str, column: &str) -> BTreeSet<String> {
    let start = DOCUMENT
        .find(&format!("\n{heading}\n"))
        .unwrap_or_else(|| panic!("docs/plans.md has no heading {heading:?}"));
    let part = &DOCUMENT[start + 1 + heading.len()..];
    let level = heading.split(' ').next().unwrap_or_default();
    let part = &part[..part.find(&format!("\n{level} ")).unwrap_or(part.len())];
    let mut words = BTreeSet::new();
    let mut inside = false;
    for line in part.lines() {
        let mut cells = line.split('|').skip(1).map(str::trim);
        match cells.next() {
            None => inside = false,
            Some(first) if first == column => inside = true,
            Some(first) if inside && first.starts_with('`') => {
                words.insert(first.trim_matches('`').to_owned());
            }
            Some(_) => {}
        }
    }
    assert!(!words.is_empty(), "no table {column:?} under {heading:?}");
    words
}

fn keys(section: &Section) -> BTreeSet<String> {
    section.keys.iter().map(|key| key.name.to_owned()).collect()
}

#[test]
fn the_document_has_every_key_and_no_other() {
    let sections: [(&Section, &str, &str); 12] = [
        (&PLAN, "## The plan", "key"),
        (&DEVICE, "## `[device]`", "key"),
        (&KINDS, "## `[device]`", "key of `kinds`"),
        (&ORCHESTRATOR, "## `[orchestrator]`", "key"),
        (&QUEUE, "## `[[queue]]`", "key"),
        (&STREAM, "## `[[stream]]`", "key"),
        (&COMMAND, "### Work", "key of a command"),
        (&AFTER, "### Dependencies", "key of a dependency"),
        (&FAULT, "## `[[fault]]`", "key"),
        (&STORM, "## `[[storm]]`", "key"),
        (&EVENT, "## `[[event]]`", "key"),
        (&EXPECT, "## `[expect]`", "key"),
    ];
    assert_eq!(sections.len(), SECTIONS.len());
    for (section, heading, column) in sections {
        assert_eq!(documented(heading, column), keys(section), "{heading}");
    }
}

#[test]
fn the_document_has_every_command_and_every_kind_of_fault() {
    let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
    let ops: BTreeSet<String> = words(super::OPS);
    assert_eq!(documented("### Work", "command"), ops);
    let faults: BTreeSet<String> = words(super::FAULTS);
    assert_eq!(documented("## `[[fault]]`", "kind"), faults);
    let events: BTreeSet<String> = words(super::EVENTS);
    assert_eq!(documented("## `[[event]]`", "kind"), events);
}

#[test]
fn the_document_s_plan_is_good() {
    let start = DOCUMENT.find("```toml\n").expect("an example") + "```toml\n".len();
    let end = DOCUMENT[start..].find("```").expect("its end") + start;
    let plan = crate::plan::Plan::parse("docs/plans.md", &DOCUMENT[start..end]);
    assert_eq!(
        plan.map(|plan| plan.jobs())
            .map_err(|errors| errors.to_string()),
        Ok(1_000)
    );
}

/// Each example in the schema is a line that messages tell people to write: it must be right.
#[test]
fn the_examples_can_be_written_into_a_plan() {
    let base = "name = \"x\"\n[[queue]]\nname = \"render\"\n[[stream]]\nname = \"uploads\"\n\
                queue = \"render\"\njobs = 1_000\nwork = \"copy\"\n";
    let try_plan = |text: String| {
        if let Err(errors) = crate::plan::Plan::parse("example", &text) {
            panic!("{errors}\n{text}");
        }
    };
    for key in DEVICE.keys {
        let with = match key.name {
            "kinds" => "[orchestrator]\n",
            _ => "",
        };
        try_plan(format!("{base}{with}[device]\n{}\n", key.example));
    }
    for key in KINDS.keys {
        try_plan(format!(
            "{base}[orchestrator]\n[device]\nkinds = {{ {} }}\n",
            key.example
        ));
    }
    for key in ORCHESTRATOR.keys {
        try_plan(format!("{base}[orchestrator]\n{}\n", key.example));
    }
    for key in QUEUE.keys.iter().filter(|key| key.name != "name") {
        let with = match key.name {
            "strikes_within" => "strikes = 2\n".to_owned(),
            // One other at least is of the same group.
            "group" => format!("{0}\n[[queue]]\nname = \"another\"\n", key.example),
            _ => String::new(),
        };
        let orchestrator = match key.name {
            "priority" | "weight" | "kinds" | "group" | "client" => "[orchestrator]\n",
            _ => "",
        };
        try_plan(format!(
            "{base}{orchestrator}[[queue]]\nname = \"other\"\n{with}{}\n",
            key.example
        ));
    }
    let fixed = ["name", "queue", "jobs", "work"];
    for key in STREAM.keys.iter().filter(|key| !fixed.contains(&key.name)) {
        let stream = "[[stream]]\nname = \"frames\"\nqueue = \"render\"\njobs = 9\n\
                      work = [\"copy\", \"matmul\", \"spin\"]\n";
        try_plan(format!("{base}{stream}{}\n", key.example));
    }
    let [stream, probability] = [STORM.keys[0], STORM.keys[1]].map(|key| key.example);
    let stream = stream.replace("frames", "uploads");
    for key in &STORM.keys[2..] {
        let storm = format!("[[storm]]\n{stream}\n{probability}\n{}\n", key.example);
        try_plan(format!("{base}{storm}"));
    }
    for key in &EVENT.keys[1..3] {
        let when = key.example.replace("1_000", "500");
        let event = format!("[[event]]\n{}\n{when}\n", EVENT.keys[0].example);
        try_plan(format!("{base}{event}"));
    }
    let [queue, priority, weight] = [3, 4, 5].map(|at| EVENT.keys[at].example);
    for changes in [priority, weight] {
        let event = format!("[[event]]\nkind = \"change\"\nafter = 5\n{queue}\n{changes}\n");
        try_plan(format!("{base}[orchestrator]\n{event}"));
    }
    for key in EXPECT.keys {
        let with = match key.name {
            "share_of" => "share_error = \"2%\"\n",
            _ => "",
        };
        let orchestrator = match key.name {
            "share_error" | "fairness" | "share_of" | "longest_wait" => {
                "[orchestrator]\n[[queue]]\nname = \"watched\"\npriority = \"high\"\n"
            }
            "late" => "[[stream]]\nname = \"b\"\nqueue = \"render\"\njobs = 9\nwork = \"copy\"\ndeadline = \"9ms\"\n",
            _ => "",
        };
        let shares = match key.name {
            "share_error" | "fairness" => "share_of = [\"render\"]\n",
            _ => "",
        };
        try_plan(format!(
            "{base}{orchestrator}[expect]\n{with}{shares}{}\n",
            key.example
        ));
    }
}
