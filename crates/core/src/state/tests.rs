// SPDX-License-Identifier: GPL-2.0 OR MIT
extern crate std;

use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

use super::{Graph, JobEvent, State, TRANSITIONS};

#[test]
fn every_state_and_event_pair_does_what_the_table_says() {
    for from in State::ALL {
        for event in JobEvent::ALL {
            let listed: Vec<State> = TRANSITIONS
                .iter()
                .filter(|(state, on, _)| *state == from && *on == event)
                .map(|(_, _, to)| *to)
                .collect();
            assert!(
                listed.len() <= 1,
                "{from} on {event:?} is listed more than once"
            );
            assert_eq!(
                from.after(event),
                listed.first().copied(),
                "{from} on {event:?}"
            );
        }
    }
}

#[test]
fn all_lists_are_in_the_order_of_their_numbers() {
    for (i, state) in State::ALL.iter().enumerate() {
        assert_eq!(*state as usize, i);
    }
    for (i, event) in JobEvent::ALL.iter().enumerate() {
        assert_eq!(*event as usize, i);
    }
}

#[test]
fn every_state_is_reached_from_free_and_leads_back_to_it() {
    let reachable = |from: State| {
        let mut seen = std::vec![from];
        let mut i = 0;
        while i < seen.len() {
            for event in JobEvent::ALL {
                if let Some(next) = seen[i].after(event) {
                    if !seen.contains(&next) {
                        seen.push(next);
                    }
                }
            }
            i += 1;
        }
        seen
    };
    for state in State::ALL {
        assert!(
            reachable(State::Free).contains(&state),
            "{state} is never reached"
        );
        assert!(
            reachable(state).contains(&State::Free),
            "{state} never ends"
        );
    }
}

#[test]
fn a_fence_signals_once_on_every_path() {
    // Walks every path from arm to reap without repeating a state: exactly one acknowledgement.
    fn walk(state: State, acknowledged: u32, seen: &mut Vec<State>) {
        if state == State::Free {
            assert_eq!(acknowledged, 1, "by way of {seen:?}");
            return;
        }
        for event in JobEvent::ALL {
            let Some(next) = state.after(event) else {
                continue;
            };
            if seen.contains(&next) {
                continue;
            }
            seen.push(next);
            walk(
                next,
                acknowledged + u32::from(event == JobEvent::Acknowledge),
                seen,
            );
            seen.pop();
        }
    }
    walk(State::Armed, 0, &mut std::vec![State::Armed]);
}

/// Set `UPDATE_DOCS=1` to write the page.
#[test]
fn the_page_about_states_is_drawn_from_the_table() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/states.md");
    let page = page();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == page,
        "docs/states.md is stale: run with UPDATE_DOCS=1"
    );
}

fn page() -> String {
    let mut page = String::from(
        "<!-- SPDX-License-Identifier: GPL-2.0 OR MIT -->\n\
         <!-- Drawn by a test from crates/core/src/state.rs; do not edit. -->\n\
         # The states of a job\n\n\
         Rows are states, columns are events; a dot is illegal: an error to the host, no change.\n\n",
    );
    page += "| |";
    for event in JobEvent::ALL {
        page += &format!(" {event:?} |");
    }
    page += "\n|---|";
    page += &"---|".repeat(JobEvent::ALL.len());
    for from in State::ALL {
        page += &format!("\n| **{from}** |");
        for event in JobEvent::ALL {
            let cell = from
                .after(event)
                .map_or(String::from("\u{b7}"), |to| to.to_string());
            page += &format!(" {cell} |");
        }
    }
    page += &format!("\n\n```dot\n{Graph}```\n");
    page
}
