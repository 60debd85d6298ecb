// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What the benchmark's module prints, and what follows from it.

use serde_json::Value;

use crate::run::Failed;

const PREFIX: &str = "ringfence_bench: {";

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Side {
    Ours,
    Theirs,
}

/// What a value is of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Unit {
    Nanoseconds,
    PerSecond,
    Bytes,
}

/// One side, one measure, one round.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Sample {
    pub(crate) round: u64,
    pub(crate) side: Side,
    pub(crate) measure: String,
    pub(crate) unit: Unit,
    pub(crate) value: f64,
    pub(crate) p99: Option<f64>,
}

/// Ours over theirs, of each round by itself: what slows a machine down slows both.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Ratio {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

/// All the rounds of a measure. Medians; a side that was not measured has none.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Row {
    pub(crate) measure: String,
    pub(crate) unit: Unit,
    pub(crate) ours: Option<f64>,
    pub(crate) theirs: Option<f64>,
    pub(crate) ratio: Option<Ratio>,
    pub(crate) ours_p99: Option<f64>,
    pub(crate) theirs_p99: Option<f64>,
}

/// The samples of a log. A line that looks like one and is none is an error: it would be missed.
pub(crate) fn samples<'a>(lines: impl IntoIterator<Item = &'a str>) -> Result<Vec<Sample>, Failed> {
    lines
        .into_iter()
        .filter(|line| line.starts_with(PREFIX))
        .map(|line| sample(line).ok_or_else(|| Failed(format!("not a sample: {line}"))))
        .collect()
}

fn sample(line: &str) -> Option<Sample> {
    let json: Value = serde_json::from_str(&line[PREFIX.len() - 1..]).ok()?;
    let number = |name: &str| json.get(name).and_then(Value::as_f64);
    let side = match json.get("side")?.as_str()? {
        "ours" => Side::Ours,
        "drm_sched" => Side::Theirs,
        _ => return None,
    };
    let (unit, value) = match (number("median"), number("rate"), number("bytes")) {
        (Some(median), None, None) => (Unit::Nanoseconds, median),
        (None, Some(rate), None) => (Unit::PerSecond, rate),
        (None, None, Some(bytes)) => (Unit::Bytes, bytes),
        _ => return None,
    };
    Some(Sample {
        round: json.get("round")?.as_u64()?,
        side,
        measure: json.get("measure")?.as_str()?.to_owned(),
        unit,
        value,
        p99: number("p99"),
    })
}

/// A row for each measure, in the order in which they were first measured.
pub(crate) fn rows(samples: &[Sample]) -> Vec<Row> {
    let mut measures: Vec<&str> = Vec::new();
    for sample in samples {
        if !measures.contains(&sample.measure.as_str()) {
            measures.push(&sample.measure);
        }
    }
    measures
        .into_iter()
        .map(|name| row(name, samples))
        .collect()
}

fn row(measure: &str, samples: &[Sample]) -> Row {
    let of = |side: Side| {
        samples
            .iter()
            .filter(move |s| s.measure == measure && s.side == side)
    };
    let values = |side| median(of(side).map(|sample| sample.value).collect());
    let p99 = |side| median(of(side).filter_map(|sample| sample.p99).collect());
    let mut ratios = Vec::new();
    for ours in of(Side::Ours) {
        let theirs = of(Side::Theirs).find(|theirs| theirs.round == ours.round);
        if let Some(theirs) = theirs.filter(|theirs| theirs.value > 0.0) {
            ratios.push(ours.value / theirs.value);
        }
    }
    let of_ratios = |pick: fn(f64, f64) -> f64| ratios.iter().copied().reduce(pick);
    let ratio = match (of_ratios(f64::min), of_ratios(f64::max)) {
        (Some(min), Some(max)) => median(ratios).map(|median| Ratio { median, min, max }),
        _ => None,
    };
    let unit = samples.iter().find(|s| s.measure == measure);
    Row {
        measure: measure.to_owned(),
        unit: unit.map_or(Unit::Nanoseconds, |sample| sample.unit),
        ours: values(Side::Ours),
        theirs: values(Side::Theirs),
        ratio,
        ours_p99: p99(Side::Ours),
        theirs_p99: p99(Side::Theirs),
    }
}

/// The middle one, or the mean of the two.
fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = *values.get(middle)?;
    if values.len() % 2 == 1 {
        return Some(upper);
    }
    Some((values[middle - 1] + upper) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: [&str; 8] = [
        "ringfence_bench: three rounds",
        r#"ringfence_bench: {"round":0,"side":"ours","measure":"bypass_push_to_run","median":100,"p99":300}"#,
        r#"ringfence_bench: {"round":0,"side":"drm_sched","measure":"bypass_push_to_run","median":400,"p99":500}"#,
        r#"ringfence_bench: {"round":1,"side":"drm_sched","measure":"bypass_push_to_run","median":1000,"p99":700}"#,
        r#"ringfence_bench: {"round":1,"side":"ours","measure":"bypass_push_to_run","median":500,"p99":900}"#,
        r#"ringfence_bench: {"round":2,"side":"ours","measure":"bypass_push_to_run","median":90,"p99":800}"#,
        r#"ringfence_bench: {"round":2,"side":"drm_sched","measure":"bypass_push_to_run","median":450,"p99":600}"#,
        r#"ringfence_bench: {"round":0,"side":"ours","measure":"bytes_per_job","bytes":112}"#,
    ];

    #[test]
    fn rounds_are_paired_before_the_median_is_taken() {
        let rows = rows(&samples(LOG).unwrap());
        let row = &rows[0];
        assert_eq!(row.measure, "bypass_push_to_run");
        assert_eq!((row.ours, row.theirs), (Some(100.0), Some(450.0)));
        // 0.25, 0.5 and 0.2; the ratio of the medians would be 0.22.
        let ratio = row.ratio.unwrap();
        assert_eq!((ratio.min, ratio.median, ratio.max), (0.2, 0.25, 0.5));
        assert_eq!((row.ours_p99, row.theirs_p99), (Some(800.0), Some(600.0)));
        assert_eq!(rows[1].ratio, None);
        assert_eq!((rows[1].unit, rows[1].ours), (Unit::Bytes, Some(112.0)));
    }

    #[test]
    fn a_broken_sample_is_an_error() {
        for line in [
            r#"ringfence_bench: {"round":0,"side":"ours","measure":"x","median":1"#,
            r#"ringfence_bench: {"round":0,"side":"theirs","measure":"x","median":1}"#,
            r#"ringfence_bench: {"round":0,"side":"ours","measure":"x"}"#,
            r#"ringfence_bench: {"side":"ours","measure":"x","rate":5}"#,
        ] {
            assert!(samples([line]).is_err(), "{line}");
        }
        assert_eq!(samples(["ringfence_bench: words"]).unwrap(), []);
    }

    #[test]
    fn medians() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0]), Some(2.5));
    }
}
