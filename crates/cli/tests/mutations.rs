// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Damaged plans: whatever is done to a good plan, reading it ends in a plan or in messages.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use ringfence_cli::plan::Plan;

/// The plans of the repository.
const GOOD: [&str; 9] = [
    include_str!("../../../plans/tour.toml"),
    include_str!("../../../plans/frame-pipeline.toml"),
    include_str!("../../../plans/inference-batches.toml"),
    include_str!("../../../plans/many-small-clients.toml"),
    include_str!("../../../plans/hang-storm.toml"),
    include_str!("../../../plans/fan-in-fan-out.toml"),
    include_str!("../../../plans/compositor-vs-compute.toml"),
    include_str!("../../../plans/gang.toml"),
    include_str!("../../../plans/noisy-neighbour.toml"),
];

/// Texts that are likely to be misread where they do not belong.
const PIECES: [&str; 30] = [
    "0",
    "-1",
    "1",
    "99999999999999999999",
    "18446744073709551615",
    "0x7fff",
    "1e400",
    "nan",
    "\"",
    "'''",
    "\"\"",
    "[",
    "]",
    "{ ",
    " }",
    "=",
    "\n",
    "..",
    "\"9..1\"",
    "\u{0}",
    "\u{20ac}",
    "true",
    "[[queue]]\n",
    "[[stream]]\n",
    "1979-05-27",
    "[[fault]]\n",
    "[orchestrator]\n",
    "group = \"pair\"\n",
    "kinds = { copy = 1 }\n",
    "longest_wait = { low = \"1ms\" }\n",
];

#[derive(Clone, Debug)]
enum Damage {
    Cut(Index),
    Insert(Index, &'static str),
    Remove(Index, usize),
    ReplaceWord(Index, Index),
    SwapLines(Index, Index),
    RepeatLine(Index),
    Digits(Index, &'static str),
}

fn damage() -> impl Strategy<Value = Damage> {
    let piece = || proptest::sample::select(PIECES.to_vec());
    prop_oneof![
        1 => any::<Index>().prop_map(Damage::Cut),
        3 => (any::<Index>(), piece()).prop_map(|(at, text)| Damage::Insert(at, text)),
        2 => (any::<Index>(), 1_usize..20).prop_map(|(at, length)| Damage::Remove(at, length)),
        5 => any::<(Index, Index)>().prop_map(|(at, from)| Damage::ReplaceWord(at, from)),
        2 => any::<(Index, Index)>().prop_map(|(a, b)| Damage::SwapLines(a, b)),
        2 => any::<Index>().prop_map(Damage::RepeatLine),
        5 => (any::<Index>(), piece()).prop_map(|(at, text)| Damage::Digits(at, text)),
    ]
}

/// The runs of characters that `belongs` takes, as ranges.
fn runs(text: &str, belongs: impl Fn(char) -> bool) -> Vec<std::ops::Range<usize>> {
    let mut runs: Vec<std::ops::Range<usize>> = Vec::new();
    for (at, c) in text.char_indices().filter(|&(_, c)| belongs(c)) {
        match runs.last_mut() {
            Some(run) if run.end == at => run.end = at + c.len_utf8(),
            _ => runs.push(at..at + c.len_utf8()),
        }
    }
    runs
}

fn apply(text: &mut String, damage: &Damage) {
    let place = |at: &Index| {
        let mut place = at.index(text.len() + 1);
        while !text.is_char_boundary(place) {
            place -= 1;
        }
        place
    };
    match damage {
        Damage::Cut(at) => text.truncate(place(at)),
        Damage::Insert(at, piece) => text.insert_str(place(at), piece),
        Damage::Remove(at, length) => {
            let start = place(at);
            let end = text[start..]
                .char_indices()
                .nth(*length)
                .map_or(text.len(), |(n, _)| start + n);
            text.replace_range(start..end, "");
        }
        Damage::ReplaceWord(at, from) => {
            let words = runs(text, |c| c.is_alphanumeric() || c == '_' || c == '-');
            if !words.is_empty() {
                let word = text[words[from.index(words.len())].clone()].to_owned();
                text.replace_range(words[at.index(words.len())].clone(), &word);
            }
        }
        Damage::SwapLines(a, b) => {
            let mut lines: Vec<&str> = text.lines().collect();
            if !lines.is_empty() {
                let (a, b) = (a.index(lines.len()), b.index(lines.len()));
                lines.swap(a, b);
                *text = lines.join("\n");
            }
        }
        Damage::RepeatLine(at) => {
            let mut lines: Vec<&str> = text.lines().collect();
            if !lines.is_empty() {
                let at = at.index(lines.len());
                lines.insert(at, lines[at]);
                *text = lines.join("\n");
            }
        }
        Damage::Digits(at, piece) => {
            let numbers = runs(text, |c| c.is_ascii_digit());
            if !numbers.is_empty() {
                text.replace_range(numbers[at.index(numbers.len())].clone(), piece);
            }
        }
    }
}

/// What a `Plan` promises, for a few jobs of every stream.
fn check_promises(plan: &Plan) -> Result<(), TestCaseError> {
    prop_assert!(plan.jobs() > 0 && plan.memory() <= plan.device().vram);
    for stream in plan.streams().iter().take(40) {
        let queue = &plan.queues()[stream.queue.0];
        prop_assert!(queue.capacity.is_power_of_two());
        prop_assert!(stream.max_cost() <= queue.credits);
        for i in [0, 1, stream.jobs / 2, stream.jobs - 1] {
            let job = stream.job(i, plan.seed());
            prop_assert!(job.cost <= queue.credits);
            prop_assert!(!job.commands.is_empty());
            for wait in job.dependencies {
                prop_assert!(wait.job < plan.streams()[wait.stream.0].jobs);
            }
        }
    }
    for (place, gang) in plan.gangs().iter().enumerate() {
        prop_assert!(gang.members.len() > 1);
        prop_assert!(gang.members.len() <= plan.device().slots as usize);
        for member in &gang.members {
            prop_assert_eq!(plan.queues()[member.0].due.gang, Some(place));
        }
    }
    for queue in plan.queues() {
        prop_assert!(queue.due.client < plan.clients().len());
    }
    let expect = plan.expect();
    let shares = expect.shares.iter().flat_map(|shares| &shares.queues);
    let waits = expect.waits.iter().flat_map(|wait| &wait.queues);
    prop_assert!(shares
        .chain(waits)
        .all(|queue| queue.0 < plan.queues().len()));
    Ok(())
}

#[test]
fn control_characters_of_a_plan_do_not_reach_the_terminal() {
    let many = GOOD[3];
    let text = many.replacen("count = 1_000", "count = 1_0\u{0}00", 1);
    assert_ne!(text, many, "the plan has such a line");
    let errors = Plan::parse("damaged.toml", &text).expect_err("a bad number");
    let shown = errors.to_string();
    assert!(
        shown.chars().all(|c| c == '\n' || !c.is_control()),
        "{shown:?}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(4096)
    })]

    #[test]
    fn damaged_plans_end_in_a_plan_or_in_messages(
        which in 0..GOOD.len(),
        damages in vec(damage(), 1..4),
    ) {
        let mut text = GOOD[which].to_owned();
        for damage in &damages {
            apply(&mut text, damage);
        }
        match Plan::parse("damaged.toml", &text) {
            Ok(plan) => check_promises(&plan)?,
            Err(errors) => {
                let shown = errors.to_string();
                prop_assert!(shown.starts_with("damaged.toml:"), "{}", shown);
                prop_assert!(!errors.list().is_empty());
                let printable = |c: char| c == '\n' || !c.is_control();
                prop_assert!(shown.chars().all(printable), "{:?}", shown);
            }
        }
    }

    #[test]
    fn any_text_at_all_is_read_or_refused(text in "\\PC{0,200}|(?s).{0,100}") {
        let _ = Plan::parse("any.toml", &text).map_err(|errors| errors.to_string());
    }
}

/// The damage must leave good plans and bad ones, or the test above would say nothing.
#[test]
fn damage_makes_both_good_plans_and_bad_ones() {
    use proptest::strategy::ValueTree as _;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut good = 0;
    for _ in 0..300 {
        let damage = damage().new_tree(&mut runner).expect("a damage").current();
        let mut text = GOOD[1].to_owned();
        apply(&mut text, &damage);
        good += usize::from(Plan::parse("x", &text).is_ok());
    }
    assert!((20..280).contains(&good), "{good} of 300 were good");
}

/// Each plan cut at every byte, through the parser; and at a few through the program.
#[test]
fn cut_plans_exit_with_0_or_2() {
    for text in GOOD {
        for at in (0..text.len())
            .step_by(7)
            .filter(|&at| text.is_char_boundary(at))
        {
            let _ = Plan::parse("cut.toml", &text[..at]).map_err(|errors| errors.to_string());
        }
    }
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("cut.toml");
    for at in (0..GOOD[0].len()).step_by(150) {
        std::fs::write(&file, &GOOD[0].as_bytes()[..at]).expect("written");
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_ringfence"))
            .arg("check")
            .arg(&file)
            .output()
            .expect("the program starts");
        let shown = String::from_utf8_lossy(&output.stderr);
        assert!(matches!(output.status.code(), Some(0 | 2)), "{at}: {shown}");
        assert_eq!(
            output.status.code() == Some(2),
            !shown.is_empty(),
            "{at}: {shown}"
        );
    }
}
