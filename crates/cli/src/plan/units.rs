// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Quantities as people write them: `"250us"`, `"64MiB"`, `"1..8"`, `"1%"`.

use std::ops::RangeInclusive;

/// What a number in a plan measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A bare number.
    Count,
    /// A span of time, held in nanoseconds.
    Duration,
    /// A size, held in bytes.
    Size,
}

const DURATIONS: &[(&str, u64)] = &[
    ("ns", 1),
    ("us", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
];
const SIZES: &[(&str, u64)] = &[
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
];

/// Why a text is no quantity, and what might have been meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Misread {
    pub(crate) message: String,
    pub(crate) instead: Option<String>,
}

impl Misread {
    fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            instead: None,
        }
    }

    fn instead(message: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            instead: Some(text.into()),
        }
    }
}

impl Kind {
    fn units(self) -> &'static [(&'static str, u64)] {
        match self {
            Self::Count => &[],
            Self::Duration => DURATIONS,
            Self::Size => SIZES,
        }
    }

    /// The kind's name with its article.
    pub(crate) fn noun(self) -> &'static str {
        match self {
            Self::Count => "a whole number",
            Self::Duration => "a duration",
            Self::Size => "a size",
        }
    }

    /// Reads one quantity.
    pub(crate) fn parse(self, text: &str) -> Result<u64, Misread> {
        let trimmed = text.trim();
        let split = trimmed
            .find(|c: char| !c.is_ascii_digit() && c != '_')
            .unwrap_or(trimmed.len());
        let (digits, unit) = trimmed.split_at(split);
        let digits: String = digits.chars().filter(|&c| c != '_').collect();
        let unit = unit.trim();
        if trimmed.starts_with('-') {
            return Err(Misread::new(format!("{text:?} is negative")));
        }
        if digits.is_empty() {
            return Err(Misread::new(format!(
                "{text:?} does not start with a number"
            )));
        }
        if unit.starts_with('.') {
            return Err(self.fraction(text, trimmed));
        }
        let number: u64 = digits
            .parse()
            .map_err(|_| Misread::new(format!("{text:?} is too large")))?;
        let scale = self.scale(text, &digits, unit)?;
        number
            .checked_mul(scale)
            .ok_or_else(|| Misread::new(format!("{text:?} is too large")))
    }

    fn scale(self, text: &str, digits: &str, unit: &str) -> Result<u64, Misread> {
        let units = self.units();
        if let Some(&(_, scale)) = units.iter().find(|&&(name, _)| name == unit) {
            return Ok(scale);
        }
        if unit.is_empty() {
            return match self {
                Self::Duration => Err(Misread::instead(
                    format!("{text:?} has no unit"),
                    format!("\"{digits}ms\""),
                )),
                Self::Count | Self::Size => Ok(1),
            };
        }
        if units.is_empty() {
            return Err(Misread::instead(
                format!("{text:?} is no whole number"),
                digits,
            ));
        }
        let names: Vec<&str> = units.iter().map(|&(name, _)| name).collect();
        let message = format!(
            "unknown unit {unit:?} in {text:?}; known are {}",
            names.join(", ")
        );
        Err(match self.meant(unit) {
            Some(name) => Misread::instead(message, format!("\"{digits}{name}\"")),
            None => Misread::new(message),
        })
    }

    /// The unit that somebody who wrote `unit` meant.
    fn meant(self, unit: &str) -> Option<&'static str> {
        let lower = unit.to_lowercase();
        match (self, lower.as_str()) {
            (Self::Duration, "\u{b5}s" | "usec" | "micros" | "\u{3bc}s") => Some("us"),
            (Self::Duration, "sec" | "secs" | "second" | "seconds") => Some("s"),
            (Self::Duration, "msec" | "millis") => Some("ms"),
            (Self::Size, "k" | "kb" | "kib") => Some("KiB"),
            (Self::Size, "m" | "mb" | "mib") => Some("MiB"),
            (Self::Size, "g" | "gb" | "gib") => Some("GiB"),
            (Self::Size, "bytes" | "byte" | "b") => Some("B"),
            _ => self
                .units()
                .iter()
                .map(|&(name, _)| name)
                .find(|name| *name == lower),
        }
    }

    /// Fractions are not taken: `"1.5ms"` has an exact form in the next smaller unit.
    fn fraction(self, text: &str, trimmed: &str) -> Misread {
        let message = format!("{text:?} has a fraction");
        let units = self.units();
        let start = trimmed.find(char::is_alphabetic).unwrap_or(trimmed.len());
        let at = units
            .iter()
            .position(|&(name, _)| name == &trimmed[start..]);
        let value = trimmed[..start].trim().parse::<f64>().ok();
        match (at, value) {
            (Some(at), Some(value)) if at > 0 => {
                let smaller = units[at - 1];
                let ratio = units[at].1 / smaller.1;
                Misread::instead(
                    message,
                    format!("\"{:.0}{}\"", value * ratio as f64, smaller.0),
                )
            }
            _ => Misread::new(message),
        }
    }

    /// Writes a quantity the way [`Kind::parse`] reads it, in the largest unit that divides it.
    pub(crate) fn show(self, value: u64) -> String {
        let unit = self
            .units()
            .iter()
            .rev()
            .find(|&&(_, scale)| value >= scale && value.is_multiple_of(scale))
            .or(self.units().first());
        match unit {
            Some(&(name, scale)) => format!("{}{name}", value / scale),
            None => value.to_string(),
        }
    }

    /// Writes a quantity as it stands in a plan: with quotes where it has a unit.
    pub(crate) fn show_in_plan(self, value: u64) -> String {
        match self {
            Self::Count => self.show(value),
            Self::Duration | Self::Size => format!("\"{}\"", self.show(value)),
        }
    }

    /// Reads `"a..b"` (both ends included) or a single quantity.
    ///
    /// The unit may be left out at the lower end: `"10..20us"`.
    pub(crate) fn parse_range(self, text: &str) -> Result<RangeInclusive<u64>, Misread> {
        let Some((low, high)) = text.split_once("..") else {
            let value = self.parse(text)?;
            return Ok(value..=value);
        };
        let high = high.strip_prefix('=').unwrap_or(high);
        let max = self.parse(high)?;
        let unit = high
            .trim()
            .trim_start_matches(|c: char| c.is_ascii_digit() || c == '_');
        let bare = low.trim().chars().all(|c| c.is_ascii_digit() || c == '_');
        let min = if bare && !low.trim().is_empty() {
            self.parse(&format!("{}{unit}", low.trim()))?
        } else {
            self.parse(low)?
        };
        if min > max {
            return Err(Misread::instead(
                format!("the range {text:?} runs backwards"),
                format!("\"{}..{}\"", high.trim(), low.trim()),
            ));
        }
        Ok(min..=max)
    }
}

/// Reads a bound on a count: `"1..20"`, `"1.."`, `"..20"` or `"7"`.
pub(crate) fn parse_bounds(text: &str) -> Result<(u64, Option<u64>), Misread> {
    let Some((low, high)) = text.split_once("..") else {
        let value = Kind::Count.parse(text)?;
        return Ok((value, Some(value)));
    };
    let high = high.strip_prefix('=').unwrap_or(high).trim();
    let low = low.trim();
    let min = if low.is_empty() {
        0
    } else {
        Kind::Count.parse(low)?
    };
    let max = if high.is_empty() {
        None
    } else {
        Some(Kind::Count.parse(high)?)
    };
    match max {
        Some(max) if max < min => Err(Misread::instead(
            format!("no number lies in {text:?}"),
            format!("\"{max}..{min}\""),
        )),
        _ => Ok((min, max)),
    }
}

/// Reads `"1%"`, `"0.5%"` or `"100ppm"` as parts per million.
pub(crate) fn parse_probability(text: &str) -> Result<u32, Misread> {
    let trimmed = text.trim();
    let (number, scale) = if let Some(number) = trimmed.strip_suffix('%') {
        (number, 10_000)
    } else if let Some(number) = trimmed.strip_suffix("ppm") {
        (number, 1)
    } else {
        let message = format!("{text:?} is no probability: it ends in neither % nor ppm");
        return Err(match trimmed.parse::<f64>() {
            Ok(value) if value > 0.0 && value < 1.0 => {
                Misread::instead(message, format!("\"{}%\"", value * 100.0))
            }
            Ok(value) if value > 0.0 => Misread::instead(message, format!("\"{trimmed}%\"")),
            _ => Misread::new(message),
        });
    };
    let value: f64 = number
        .trim()
        .parse()
        .map_err(|_| Misread::new(format!("{text:?} does not start with a number")))?;
    let parts = value * f64::from(scale);
    if !(1.0..=1_000_000.0).contains(&parts) {
        return Err(Misread::instead(
            format!("{text:?} is not between 1ppm and 100%"),
            "\"1%\"",
        ));
    }
    // In range: checked above.
    Ok(parts.round() as u32)
}

#[cfg(test)]
mod tests;
