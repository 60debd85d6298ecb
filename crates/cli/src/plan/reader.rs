// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Reads the values of one table, and notes every problem instead of stopping at the first.
//!
//! The tables come from the `toml` crate with their positions. Serde would stop at the first wrong
//! value; a newcomer with three slips in a plan should see three messages.

use std::ops::{Range, RangeInclusive};

use toml::de::{DeTable, DeValue};
use toml::Spanned;

use super::diagnostic::{nearest, Diagnostic};
use super::schema::{Section, SECTIONS};
use super::units::{Kind, Misread};

/// A value and the bytes of the text it was read from.
#[derive(Clone, Debug)]
pub(crate) struct At<T> {
    pub(crate) value: T,
    pub(crate) span: Range<usize>,
}

impl<T> At<T> {
    pub(crate) fn new(value: T, span: Range<usize>) -> Self {
        Self { value, span }
    }
}

/// One table of a plan under reading.
pub(crate) struct Reader<'a, 'i> {
    section: &'static Section,
    table: &'a DeTable<'i>,
    span: Range<usize>,
    problems: &'a mut Vec<Diagnostic>,
}

impl<'a, 'i> Reader<'a, 'i> {
    /// Starts to read `table`: notes unknown keys and missing ones at once.
    pub(crate) fn new(
        section: &'static Section,
        table: &'a DeTable<'i>,
        span: Range<usize>,
        problems: &'a mut Vec<Diagnostic>,
    ) -> Self {
        for key in table
            .keys()
            .filter(|key| section.key(key.get_ref()).is_none())
        {
            problems.push(unknown_key(section, key));
        }
        for key in section.keys.iter().filter(|key| key.required) {
            if table.get(key.name).is_none() {
                let message = format!("{} has no `{}`", section.title, key.name);
                let problem = Diagnostic::new(span.clone(), message).write(key.example);
                problems.push(problem);
            }
        }
        Self {
            section,
            table,
            span,
            problems,
        }
    }

    /// The table's own position.
    pub(crate) fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    /// Notes a problem.
    pub(crate) fn problem(&mut self, problem: Diagnostic) {
        self.problems.push(problem);
    }

    /// Where other tables note their problems.
    pub(crate) fn problems(&mut self) -> &mut Vec<Diagnostic> {
        self.problems
    }

    /// The value of `key`, whatever it is.
    pub(crate) fn get(&self, key: &str) -> Option<&'a Spanned<DeValue<'i>>> {
        debug_assert!(
            self.section.key(key).is_some(),
            "`{key}` is not in the schema"
        );
        self.table.get(key)
    }

    /// The position of the word `key` itself, or of the table where it is missing.
    pub(crate) fn key_span(&self, key: &str) -> Range<usize> {
        self.table
            .get_key_value(key)
            .map_or(self.span(), |(key, _)| key.span())
    }

    fn example(&self, key: &str) -> &'static str {
        self.section.key(key).map_or("", |key| key.example)
    }

    /// Notes that the value of `key` has the wrong type.
    pub(crate) fn wrong_type(&mut self, key: &str, value: &Spanned<DeValue<'i>>, wanted: &str) {
        let found = value.get_ref().type_str();
        let message = format!("`{key}` must be {wanted}, found {}", with_article(found));
        self.problem(Diagnostic::new(value.span(), message).write(self.example(key)));
    }

    /// Notes that the value of `key` was misread.
    pub(crate) fn misread(&mut self, key: &str, span: Range<usize>, misread: Misread) {
        let example = self.example(key);
        let problem = Diagnostic::new(span, format!("`{key}`: {}", misread.message));
        self.problem(match misread.instead {
            Some(text) => problem.write(format!("{key} = {text}")),
            None => problem.write(example),
        });
    }

    /// A text.
    pub(crate) fn text(&mut self, key: &str) -> Option<At<String>> {
        let value = self.get(key)?;
        match value.get_ref() {
            DeValue::String(text) => Some(At::new(text.to_string(), value.span())),
            _ => {
                self.wrong_type(key, value, "a text in quotes");
                None
            }
        }
    }

    /// A text that serves as a name: short, lower case, usable in tables and traces.
    pub(crate) fn name(&mut self, key: &str) -> Option<At<String>> {
        let name = self.text(key)?;
        if let Err(why) = check_name(&name.value) {
            let message = format!("{:?} cannot be a name: {why}", clip(&name.value));
            let problem = Diagnostic::new(name.span.clone(), message)
                .expected("1 to 32 of a-z, 0-9, - and _, with a letter first")
                .write(match tame(&name.value) {
                    Some(tame) => format!("{key} = \"{tame}\""),
                    None => self.example(key).to_owned(),
                });
            self.problem(problem);
        }
        Some(name)
    }

    /// `true` or `false`.
    pub(crate) fn flag(&mut self, key: &str) -> Option<At<bool>> {
        let value = self.get(key)?;
        if let DeValue::Boolean(flag) = value.get_ref() {
            return Some(At::new(*flag, value.span()));
        }
        let meant = value
            .get_ref()
            .as_str()
            .and_then(|text| text.parse::<bool>().ok());
        let found = with_article(value.get_ref().type_str());
        let problem = Diagnostic::new(
            value.span(),
            format!("`{key}` must be true or false, found {found}"),
        )
        .write(format!("{key} = {}", meant.unwrap_or(true)));
        self.problem(problem);
        None
    }

    /// One of a few words.
    pub(crate) fn choice(&mut self, key: &str, words: &[&'static str]) -> Option<At<&'static str>> {
        let text = self.text(key)?;
        if let Some(word) = words.iter().find(|word| **word == text.value) {
            return Some(At::new(word, text.span));
        }
        let message = format!("unknown `{key}` {:?}", clip(&text.value));
        let meant = nearest(&text.value, words.iter().copied());
        let example = match meant {
            Some(word) => format!("{key} = \"{word}\""),
            None => self.example(key).to_owned(),
        };
        self.problem(
            Diagnostic::new(text.span, message)
                .expected(format!("one of {}", words.join(", ")))
                .write(example),
        );
        None
    }

    /// A list of some of a few words; `None` if it is not there or was misread.
    pub(crate) fn choices(
        &mut self,
        key: &str,
        words: &[&'static str],
    ) -> Option<Vec<&'static str>> {
        let value = self.get(key)?;
        let list = match value.get_ref() {
            DeValue::Array(list) if !list.is_empty() => list,
            DeValue::Array(_) => {
                let message = format!("`{key}` is an empty list");
                self.problem(Diagnostic::new(value.span(), message).write(self.example(key)));
                return None;
            }
            _ => {
                self.wrong_type(key, value, "a list of texts");
                return None;
            }
        };
        let mut all = Vec::new();
        for item in list {
            let found = item.get_ref().as_str();
            match words.iter().find(|word| Some(**word) == found) {
                Some(word) => all.push(*word),
                None => {
                    let text = clip(found.unwrap_or(item.get_ref().type_str()));
                    let message = format!("unknown word {text:?} in `{key}`");
                    let example = match nearest(&text, words.iter().copied()) {
                        Some(word) => format!("\"{word}\""),
                        None => self.example(key).to_owned(),
                    };
                    self.problem(
                        Diagnostic::new(item.span(), message)
                            .expected(format!("some of {}", words.join(", ")))
                            .write(example),
                    );
                }
            }
        }
        (!all.is_empty()).then_some(all)
    }

    /// One quantity within `limits`.
    pub(crate) fn quantity(
        &mut self,
        key: &str,
        kind: Kind,
        limits: RangeInclusive<u64>,
    ) -> Option<At<u64>> {
        let value = self.get(key)?;
        let read = match value.get_ref() {
            DeValue::Integer(number) => integer(kind, number),
            DeValue::String(text) if kind != Kind::Count => kind.parse(text),
            _ => {
                self.wrong_type(key, value, kind.noun());
                return None;
            }
        };
        match read {
            Ok(number) if limits.contains(&number) => Some(At::new(number, value.span())),
            Ok(number) => {
                self.out_of_limits(key, kind, value.span(), number..=number, &limits);
                None
            }
            Err(misread) => {
                self.misread(key, value.span(), misread);
                None
            }
        }
    }

    /// A quantity or a range of them, within `limits`.
    pub(crate) fn spread(
        &mut self,
        key: &str,
        kind: Kind,
        limits: RangeInclusive<u64>,
    ) -> Option<At<RangeInclusive<u64>>> {
        let value = self.get(key)?;
        let read = match value.get_ref() {
            DeValue::Integer(number) => integer(kind, number).map(|number| number..=number),
            DeValue::String(text) => kind.parse_range(text),
            _ => {
                self.wrong_type(key, value, &format!("{} or a range in quotes", kind.noun()));
                return None;
            }
        };
        match read {
            Ok(range) if limits.contains(range.start()) && limits.contains(range.end()) => {
                Some(At::new(range, value.span()))
            }
            Ok(range) => {
                self.out_of_limits(key, kind, value.span(), range, &limits);
                None
            }
            Err(misread) => {
                self.misread(key, value.span(), misread);
                None
            }
        }
    }

    fn out_of_limits(
        &mut self,
        key: &str,
        kind: Kind,
        span: Range<usize>,
        found: RangeInclusive<u64>,
        limits: &RangeInclusive<u64>,
    ) {
        let (low, high) = (kind.show(*limits.start()), kind.show(*limits.end()));
        let shown = if found.start() == found.end() {
            kind.show(*found.start())
        } else {
            format!(
                "{} to {}",
                kind.show(*found.start()),
                kind.show(*found.end())
            )
        };
        let near = |value: u64| value.clamp(*limits.start(), *limits.end());
        let (from, to) = (near(*found.start()), near(*found.end()));
        let instead = if from == to {
            kind.show_in_plan(to)
        } else {
            format!("\"{}..{}\"", kind.show(from), kind.show(to))
        };
        self.problem(
            Diagnostic::new(
                span,
                format!("`{key}` must lie between {low} and {high}, found {shown}"),
            )
            .write(format!("{key} = {instead}")),
        );
    }
}

/// Reads a bare integer as a quantity of `kind`.
pub(crate) fn integer(kind: Kind, number: &toml::de::DeInteger<'_>) -> Result<u64, Misread> {
    let wrong = |message: String, instead| Err(Misread { message, instead });
    if number.as_str().starts_with('-') {
        return wrong(format!("{number} is negative"), None);
    }
    let Ok(value) = u64::from_str_radix(number.as_str().trim_start_matches('+'), number.radix())
    else {
        return wrong(format!("{} is too large", clip(&number.to_string())), None);
    };
    if kind == Kind::Duration {
        return wrong(
            format!("{value} has no unit"),
            Some(format!("\"{value}ms\"")),
        );
    }
    Ok(value)
}

fn unknown_key(section: &Section, key: &Spanned<std::borrow::Cow<'_, str>>) -> Diagnostic {
    let found = key.get_ref();
    let names: Vec<&str> = section.keys.iter().map(|key| key.name).collect();
    let message = format!(
        "unknown key `{}` in {}",
        clip(found).escape_debug(),
        section.title
    );
    let problem =
        Diagnostic::new(key.span(), message).expected(format!("one of {}", names.join(", ")));
    if let Some(home) = SECTIONS.iter().find(|section| section.key(found).is_some()) {
        return problem.note("help", format!("`{found}` belongs in {}", home.title));
    }
    match nearest(found, names) {
        // The value that stands there may well be right: only the key is given.
        Some(name) => problem.write(name),
        None => problem.note("help", "remove this line"),
    }
}

fn check_name(name: &str) -> Result<(), &'static str> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    if name.is_empty() {
        Err("it is empty")
    } else if name.len() > 32 {
        Err("it is longer than 32 characters")
    } else if !name.starts_with(|c: char| c.is_ascii_lowercase()) {
        Err("it does not start with a small letter")
    } else if !name.chars().all(allowed) {
        Err("it has characters other than a-z, 0-9, - and _")
    } else {
        Ok(())
    }
}

/// The nearest text to `name` that can be a name.
fn tame(name: &str) -> Option<String> {
    let tame: String = name
        .to_lowercase()
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || c == '_' {
                c
            } else {
                '-'
            }
        })
        .skip_while(|c| !c.is_ascii_lowercase())
        .take(32)
        .collect();
    (!tame.is_empty()).then_some(tame)
}

/// The first characters of a text that may be of any length.
pub(crate) fn clip(text: &str) -> String {
    match text.char_indices().nth(48) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text.to_owned(),
    }
}

fn with_article(kind: &str) -> String {
    match kind {
        "integer" | "array" => format!("an {kind}"),
        "string" => "a text".to_owned(),
        "datetime" => "a date".to_owned(),
        _ => format!("a {kind}"),
    }
}
