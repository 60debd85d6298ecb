// SPDX-License-Identifier: GPL-2.0 OR MIT
use super::{nearest, Diagnostic, PlanErrors};

fn rendered(text: &str, start: usize, end: usize) -> String {
    let problem = Diagnostic::new(start..end, "wrong").write("right");
    PlanErrors::new("p.toml", text, vec![problem])
        .expect("one problem")
        .to_string()
}

#[test]
fn counts_lines_and_columns_in_characters() {
    let text = "a = 1\n\u{e4}\u{e4} = oops\n";
    let at = text.find("oops").expect("it is there");
    let output = rendered(text, at, at + 4);
    assert!(output.starts_with("p.toml:2:6: wrong\n"), "{output}");
    assert!(output.contains("\n   |      ^^^^\n"), "{output}");
}

#[test]
fn a_span_past_the_end_or_inside_a_character_is_moved_to_a_boundary() {
    let text = "x = \"\u{20ac}\"";
    for start in 0..text.len() + 5 {
        for end in start..text.len() + 5 {
            assert!(rendered(text, start, end).contains("wrong"));
        }
    }
}

#[test]
fn control_characters_do_not_reach_the_terminal() {
    let output = rendered("x = \u{1b}[31m", 0, 1);
    assert!(!output.contains('\u{1b}'), "{output:?}");
}

#[test]
fn long_lines_are_cut_around_the_caret() {
    let text = format!("x = {}oops", "1".repeat(5000));
    let output = rendered(&text, 5004, 5008);
    assert!(
        output.lines().all(|line| line.chars().count() < 120),
        "{output}"
    );
    assert!(output.contains("oops"), "{output}");
}

#[test]
fn many_problems_are_counted() {
    let list = (0..30)
        .map(|at| Diagnostic::new(at..at + 1, "wrong"))
        .collect();
    let text = "x".repeat(40);
    let output = PlanErrors::new("p.toml", &text, list)
        .expect("thirty")
        .to_string();
    assert!(output.contains("... and 10 more"), "{output}");
    assert!(
        output.ends_with("30 errors; docs/plans.md explains every key"),
        "{output}"
    );
}

#[test]
fn finds_the_word_that_was_meant() {
    let known = ["capacity", "credits", "on_dependency_error"];
    assert_eq!(nearest("capcity", known), Some("capacity"));
    assert_eq!(
        nearest("on-dependency-error", known),
        Some("on_dependency_error")
    );
    assert_eq!(nearest("Credits", known), Some("credits"));
    assert_eq!(nearest("zebra", known), None);
}
