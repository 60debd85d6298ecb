// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The tables of `docs/reliability.md`: what they name exists, and all that exists is in them.

use std::fs;
use std::path::{Path, PathBuf};

use ringfence_sim::Canary;

use crate::stories::STORIES;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The headings under which the tables are.
const HEADINGS: [&str; 2] = ["Known defects", "Other bugs that are planted"];

/// The rows of both tables, cell by cell.
fn rows() -> Vec<Vec<String>> {
    let text = fs::read_to_string(root().join("docs/reliability.md")).expect("the page is there");
    let ours = |section: &&str| HEADINGS.iter().any(|heading| section.starts_with(heading));
    let sections = text.split("\n## ").filter(ours);
    let lines = sections.flat_map(str::lines);
    let rows = lines.filter_map(|line| line.strip_prefix("| "));
    rows.map(|row| {
        let row = row.trim_end().trim_end_matches('|');
        row.split('|').map(|cell| cell.trim().to_owned()).collect()
    })
    .collect()
}

/// What a cell has in backticks.
fn names(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

/// The rows of the table of defects: number, defect, stories, bugs, seeds needed,
/// seeds allowed.
fn defects() -> Vec<Vec<String>> {
    let mut rows = rows();
    rows.retain(|row| row.len() == 6 && row[0].starts_with("4."));
    rows
}

/// All tests there are, as text.
fn tests() -> String {
    let mut text = String::new();
    let mut folders = vec![
        root().join("crates/sim/tests"),
        root().join("crates/ringfence/tests"),
    ];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                text += &fs::read_to_string(path).expect("text");
            }
        }
    }
    text
}

#[test]
fn every_defect_has_a_row_with_what_rules_it_out() {
    let defects = defects();
    let numbers: Vec<_> = defects.iter().map(|row| row[0].clone()).collect();
    let all: Vec<_> = (1..=21).map(|number| format!("4.{number}")).collect();
    assert_eq!(numbers, all);
    for row in &defects {
        // What it costs to have a lock is no defect; memory is beyond the simulator.
        let elsewhere = ["4.10", "4.18"].contains(&row[0].as_str());
        assert_eq!(names(&row[3]).is_empty(), elsewhere, "{row:?}");
        assert_eq!(names(&row[2]).is_empty(), row[0] == "4.10", "{row:?}");
        for bug in names(&row[3]) {
            let told = |name| {
                STORIES
                    .iter()
                    .any(|s| s.name == name && s.canary.name() == bug)
            };
            assert!(names(&row[2]).into_iter().any(told), "no story shows {bug}");
        }
    }
}

#[test]
fn what_the_table_of_defects_names_exists() {
    let tests = tests();
    for row in defects() {
        for story in names(&row[2]) {
            let told = tests.contains(&format!("fn {story}("))
                || STORIES.iter().any(|other| other.name == story);
            assert!(told, "{}: no story is called {story}", row[0]);
        }
        for name in names(&row[1]) {
            let ui = root().join(format!("crates/ringfence/tests/ui/{name}.rs"));
            assert!(ui.exists() || root().join(name).exists(), "{name}");
        }
    }
}

/// A story of defect 4.5 is called `drm_4_5_...`, and stands in its row with its bug.
#[test]
fn every_story_is_in_the_row_of_its_defect() {
    let defects = defects();
    for story in STORIES {
        let number = story.name.split('_').take(3).collect::<Vec<_>>();
        let number = number[1..].join(".");
        let row = defects.iter().find(|row| row[0] == number);
        let row = row.unwrap_or_else(|| panic!("{} has no row", story.name));
        assert!(names(&row[2]).contains(&story.name), "{}", story.name);
        assert!(
            names(&row[3]).contains(&story.canary.name()),
            "{} with {}",
            story.name,
            story.canary
        );
    }
}

#[test]
fn every_bug_is_in_a_table_with_the_seeds_that_find_it() {
    let mut told = Vec::new();
    for row in rows() {
        let (bugs, needed, within) = match &row[..] {
            [number, _, _, bugs, needed, within] if number.starts_with("4.") => {
                (bugs, needed, within)
            }
            [bug, _, needed, within] => (bug, needed, within),
            _ => continue,
        };
        let seeds = needed.split(", ").zip(within.split(", "));
        for (bug, (needed, within)) in names(bugs).iter().zip(seeds) {
            let canary: Canary = bug.parse().expect("a bug that can be planted");
            let number = |text: &str| text.parse::<u64>().expect("a number");
            assert_eq!(number(within), crate::within(canary), "{canary}");
            assert!(number(within) >= 10 * number(needed), "{canary}");
            told.push(canary.name());
        }
    }
    told.sort_unstable();
    let mut all: Vec<_> = Canary::ALL.iter().map(|canary| canary.name()).collect();
    all.sort_unstable();
    assert_eq!(told, all, "each once");
}
