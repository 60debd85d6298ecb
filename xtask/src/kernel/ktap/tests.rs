// SPDX-License-Identifier: GPL-2.0 OR MIT
use super::*;

/// As a kernel printed it, shortened, without time stamps.
const LOG: &str = "\
KTAP version 1
1..3
    KTAP version 1
    # Subtest: drm_sched_basic_tests
    # module: drm_sched_tests
    1..3
    ok 1 drm_sched_basic_submit
        KTAP version 1
        # Subtest: drm_sched_basic_test
        ok 1 A queue of jobs in a single entity
        ok 2 A chain of dependent jobs across multiple entities
    # drm_sched_basic_test: pass:2 fail:0 skip:0 total:2
    ok 2 drm_sched_basic_test
    ok 3 drm_sched_basic_entity_cleanup
# drm_sched_basic_tests: pass:3 fail:0 skip:0 total:3
# Totals: pass:4 fail:0 skip:0 total:4
ok 1 drm_sched_basic_tests
    KTAP version 1
    # Subtest: ringfence_fence
    # module: ringfence_kunit
    1..3
    ok 1 signals_once
    # signals_twice: EXPECTATION FAILED at linux/kunit.rs:10
    Expected first == second
    not ok 2 signals_twice
    ok 3 signals_late # SKIP no clock
# ringfence_fence: pass:1 fail:1 skip:1 total:3
# Totals: pass:1 fail:1 skip:1 total:3
not ok 2 ringfence_fence
    KTAP version 1
    # Subtest: drm_sched_basic_cancel_tests
    1..1
    ok 1 drm_sched_basic_cancel
ok 3 drm_sched_basic_cancel_tests
";

fn parse(text: &str) -> Results {
    Results::parse(text.lines())
}

#[test]
fn results_are_counted_once_each() {
    let results = parse(LOG);
    assert_eq!(results.incomplete, [""; 0]);
    let names: Vec<&str> = results.suites.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "drm_sched_basic_tests",
            "ringfence_fence",
            "drm_sched_basic_cancel_tests"
        ]
    );
    assert_eq!(
        results.count(),
        Count {
            passed: 6,
            failed: 1,
            skipped: 1
        }
    );
}

#[test]
fn a_failure_comes_with_its_lines_and_no_others() {
    let results = parse(LOG);
    assert_eq!(results.suites[0].failures(), []);
    let failures = results.suites[1].failures();
    let (name, said) = &failures[0];
    assert_eq!(name, "ringfence_fence.signals_twice");
    assert_eq!(
        *said,
        [
            "# signals_twice: EXPECTATION FAILED at linux/kunit.rs:10",
            "Expected first == second"
        ]
    );
    assert_eq!(failures.len(), 1);
}

#[test]
fn a_suite_that_fails_by_itself_counts() {
    let log = LOG.replace("\nok 1 drm_sched", "\nnot ok 1 drm_sched");
    let results = parse(&log);
    assert_eq!(results.count().failed, 2);
    assert_eq!(results.suites[0].failures()[0].0, "drm_sched_basic_tests");
}

#[test]
fn whatever_is_missing_is_noticed() {
    // Any line of results or plans, taken out.
    for line in LOG.lines() {
        let text = line.trim_start();
        let is_parameter = line.starts_with("        ");
        let counts = text.starts_with("ok ") || text.starts_with("not ok ") || plan(text).is_some();
        // Parameters have no plan: the last one may be missing.
        if !counts || (is_parameter && text.starts_with("ok 2")) {
            continue;
        }
        let log = LOG.replace(&format!("{line}\n"), "");
        assert_ne!(parse(&log).incomplete, [""; 0], "{line}");
    }
    // The log, cut off behind any line: the boot died there.
    let lines: Vec<&str> = LOG.lines().collect();
    for end in 1..lines.len() {
        let results = Results::parse(lines[..end].iter().copied());
        assert_ne!(results.incomplete, [""; 0], "{}", lines[end - 1]);
    }
}

#[test]
fn what_a_boot_did_before_it_died_is_there() {
    let (log, _) = LOG.split_once("    not ok 2 signals_twice").unwrap();
    let results = parse(log);
    assert_ne!(results.incomplete, [""; 0]);
    let last = results.suites.last().unwrap();
    assert_eq!(last.name, "ringfence_fence");
    assert_eq!(last.parts[0].name, "signals_once");
    let failures = last.failures();
    assert_eq!(failures[0].0, "ringfence_fence");
    assert_eq!(failures[0].1.last().unwrap(), "Expected first == second");
}

#[test]
fn modules_have_documents_of_their_own() {
    let module = "KTAP version 1\n1..1\n    KTAP version 1\n    # Subtest: m\n    1..1\n    ok 1 x\nok 1 m\n";
    let results = parse(&format!("noise\n{LOG}noise\n{module}noise\n"));
    assert_eq!(results.incomplete, [""; 0]);
    assert_eq!(results.suites.len(), 4);
    assert_eq!(results.count().passed, 7);
    // The second begins although the first is not finished.
    let (cut, _) = LOG.split_at(LOG.len() - 40);
    assert_ne!(parse(&format!("{cut}\n{module}")).incomplete, [""; 0]);
}

#[test]
fn lines_in_between_are_no_results() {
    assert_eq!(result("ok computer"), None);
    assert_eq!(result("okay 1 x"), None);
    assert_eq!(
        result("ok 1 - dashed"),
        Some((Outcome::Passed, 1, "dashed"))
    );
    let log = LOG.replace(
        "    ok 1 signals_once",
        "1..99 is not a plan here\n    ok 1 signals_once",
    );
    assert_eq!(parse(&log).incomplete, [""; 0]);
    assert_eq!(parse("nothing\n"), Results::default());
}
