// SPDX-License-Identifier: GPL-2.0 OR MIT
use super::{parse_bounds, parse_probability, Kind};

fn instead(kind: Kind, text: &str) -> Option<String> {
    kind.parse(text).expect_err("a misread").instead
}

#[test]
fn reads_every_unit() {
    assert_eq!(Kind::Duration.parse("7ns"), Ok(7));
    assert_eq!(Kind::Duration.parse("250us"), Ok(250_000));
    assert_eq!(Kind::Duration.parse("1 ms"), Ok(1_000_000));
    assert_eq!(Kind::Duration.parse("2s"), Ok(2_000_000_000));
    assert_eq!(Kind::Size.parse("4KiB"), Ok(4096));
    assert_eq!(Kind::Size.parse("64MiB"), Ok(64 << 20));
    assert_eq!(Kind::Size.parse("512"), Ok(512));
    assert_eq!(Kind::Count.parse("1_000"), Ok(1000));
}

#[test]
fn says_what_to_write_instead() {
    assert_eq!(instead(Kind::Duration, "5").as_deref(), Some("\"5ms\""));
    assert_eq!(instead(Kind::Duration, "5sec").as_deref(), Some("\"5s\""));
    assert_eq!(
        instead(Kind::Duration, "1.5ms").as_deref(),
        Some("\"1500us\"")
    );
    assert_eq!(instead(Kind::Size, "4kb").as_deref(), Some("\"4KiB\""));
    assert_eq!(instead(Kind::Count, "4 jobs").as_deref(), Some("4"));
    assert_eq!(instead(Kind::Duration, "5 parsecs"), None);
}

#[test]
fn refuses_what_does_not_fit() {
    for text in [
        "99999999999999999999",
        "18446744073709551615s",
        "-1ms",
        "",
        "ms",
        "_",
    ] {
        assert!(Kind::Duration.parse(text).is_err(), "{text:?}");
    }
}

#[test]
fn ranges_include_both_ends_and_share_a_unit() {
    assert_eq!(Kind::Count.parse_range("1..8"), Ok(1..=8));
    assert_eq!(Kind::Duration.parse_range("10..20us"), Ok(10_000..=20_000));
    // 512 KiB to 4 KiB.
    assert!(Kind::Size.parse_range("512..4KiB").is_err());
    assert_eq!(Kind::Size.parse_range("512B..4KiB"), Ok(512..=4096));
    assert_eq!(Kind::Count.parse_range("5"), Ok(5..=5));
    assert!(Kind::Count.parse_range("8..1").is_err());
}

#[test]
fn what_is_shown_can_be_read_back() {
    for kind in [Kind::Count, Kind::Duration, Kind::Size] {
        for value in [
            0,
            1,
            999,
            1000,
            1024,
            1536,
            4096,
            1_500_000,
            64 << 20,
            3_000_000_000,
        ] {
            assert_eq!(kind.parse(&kind.show(value)), Ok(value), "{kind:?} {value}");
        }
    }
}

#[test]
fn bounds_may_be_open() {
    assert_eq!(parse_bounds("1..20"), Ok((1, Some(20))));
    assert_eq!(parse_bounds("1.."), Ok((1, None)));
    assert_eq!(parse_bounds("..20"), Ok((0, Some(20))));
    assert_eq!(parse_bounds("7"), Ok((7, Some(7))));
    assert!(parse_bounds("20..1").is_err());
    assert!(parse_bounds("x..").is_err());
}

#[test]
fn probabilities_are_parts_per_million() {
    assert_eq!(parse_probability("1%"), Ok(10_000));
    assert_eq!(parse_probability("0.5%"), Ok(5_000));
    assert_eq!(parse_probability("100%"), Ok(1_000_000));
    assert_eq!(parse_probability("3ppm"), Ok(3));
    for text in ["0%", "101%", "NaN%", "inf%", "0.1", "half", "%"] {
        assert!(parse_probability(text).is_err(), "{text}");
    }
}
