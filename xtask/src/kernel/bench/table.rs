// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Measurements as a table and as an object.

use serde_json::{Map, Value};

use super::samples::{Row, Unit};

const HEAD: [&str; 5] = [
    "ours",
    "drm_sched",
    "ratio (min..max)",
    "p99",
    "drm_sched p99",
];

/// A table: each measure in a line, one CPU and beside it two.
pub(crate) fn text(one: &[Row], two: &[Row]) -> String {
    let mut lines = vec![head()];
    for row in one {
        let mut line = vec![row.measure.clone()];
        line.extend(cells(row));
        let beside = two.iter().find(|other| other.measure == row.measure);
        line.extend(beside.map_or_else(|| vec![String::new(); HEAD.len()], cells));
        lines.push(line);
    }
    let widths: Vec<usize> = (0..lines[0].len())
        .map(|column| lines.iter().map(|line| line[column].chars().count()).max())
        .map(Option::unwrap_or_default)
        .collect();
    let half: usize = widths[1..=HEAD.len()].iter().map(|width| width + 2).sum();
    let mut text = format!(
        "{:first$}  {:half$}  two CPUs\n",
        "",
        "one CPU",
        first = widths[0]
    );
    for line in lines {
        let mut row = format!("{:width$}", line[0], width = widths[0]);
        for (column, cell) in line.iter().enumerate().skip(1) {
            let gap = if column == HEAD.len() + 1 { 4 } else { 2 };
            row += &format!("{:gap$}{cell:>width$}", "", width = widths[column]);
        }
        text += row.trim_end();
        text += "\n";
    }
    text
}

fn head() -> Vec<String> {
    let mut line = vec!["measure".to_owned()];
    for _ in 0..2 {
        line.extend(HEAD.map(str::to_owned));
    }
    line
}

fn cells(row: &Row) -> Vec<String> {
    let show = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |v| quantity(v, row.unit));
    let ratio = row.ratio.map_or_else(
        || "-".to_owned(),
        |ratio| format!("{:.2} ({:.2}..{:.2})", ratio.median, ratio.min, ratio.max),
    );
    vec![
        show(row.ours),
        show(row.theirs),
        ratio,
        show(row.ours_p99),
        show(row.theirs_p99),
    ]
}

fn quantity(value: f64, unit: Unit) -> String {
    match unit {
        Unit::Nanoseconds if value < 10_000.0 => format!("{value:.0} ns"),
        Unit::Nanoseconds => format!("{:.1} us", value / 1e3),
        Unit::PerSecond => format!("{:.0} k/s", value / 1e3),
        Unit::Bytes => format!("{value:.0} B"),
    }
}

/// Ratios by measure, for one CPU; those for two in an object of their own.
pub(crate) fn json(one: &[Row], two: &[Row]) -> Value {
    let mut object = ratios(one);
    object.insert("two_cpus".to_owned(), Value::Object(ratios(two)));
    Value::Object(object)
}

fn ratios(rows: &[Row]) -> Map<String, Value> {
    rows.iter()
        .filter_map(|row| {
            let ratio = row.ratio?;
            let rounded = (ratio.median * 1e4).round() / 1e4;
            Some((row.measure.clone(), Value::from(rounded)))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::samples::Ratio;
    use super::*;

    fn row(measure: &str, unit: Unit, ours: f64) -> Row {
        Row {
            measure: measure.to_owned(),
            unit,
            ours: Some(ours),
            theirs: Some(2.0 * ours),
            ratio: Some(Ratio {
                median: 0.5,
                min: 0.25,
                max: 0.75,
            }),
            ours_p99: None,
            theirs_p99: None,
        }
    }

    #[test]
    fn one_and_two_processors_stand_beside_each_other() {
        let one = [
            row("a", Unit::Nanoseconds, 12_345.0),
            row("b", Unit::Bytes, 7.0),
        ];
        let two = [row("a", Unit::Nanoseconds, 99.0)];
        let text = text(&one, &two);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 4);
        let words: Vec<&str> = lines[2]
            .split("  ")
            .map(str::trim)
            .filter(|w| !w.is_empty())
            .collect();
        assert_eq!(
            words,
            [
                "a",
                "12.3 us",
                "24.7 us",
                "0.50 (0.25..0.75)",
                "-",
                "-",
                "99 ns",
                "198 ns",
                "0.50 (0.25..0.75)",
                "-",
                "-"
            ]
        );
        let at = |line: &str, what: &str| line.find(what).unwrap();
        assert_eq!(at(lines[2], "0.50"), at(lines[3], "0.50"));
        assert!(at(lines[0], "two CPUs") > at(lines[2], "24.7 us"));
    }

    #[test]
    fn the_object_has_ratios_by_measure() {
        let one = [row("a", Unit::Nanoseconds, 1.0)];
        let mut other = row("b", Unit::PerSecond, 1.0);
        other.ratio = None;
        let object = json(&one, &[one[0].clone(), other]).to_string();
        assert_eq!(object, r#"{"a":0.5,"two_cpus":{"a":0.5}}"#);
    }
}
