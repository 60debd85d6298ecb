// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A schedule in letters: one line for each slot.

use std::fmt::Write as _;

use super::Picture;

/// Columns for the whole span.
const COLUMNS: u64 = 100;

/// The letters that stand for queues.
const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// Draws it: a letter for who is on a slot for most of a column, `.` for nobody.
pub(super) fn draw(picture: &Picture) -> String {
    let mut shown: Vec<usize> = picture.stays.iter().map(|stay| stay.queue).collect();
    shown.sort_unstable();
    shown.dedup();
    let letter = |queue: usize| {
        let place = shown.iter().position(|other| *other == queue);
        let letter = place.and_then(|place| LETTERS.get(place));
        char::from(letter.copied().unwrap_or(b'#'))
    };
    let mut text = String::new();
    let [begin, span] = [picture.begin, picture.span].map(|ns| ns as f64 / 1e6);
    // Writing to a string does not fail.
    let _ = writeln!(
        text,
        "{}: {span:.1} ms from {begin:.1} ms on",
        picture.title
    );
    let width = picture.slots.iter().map(String::len).max().unwrap_or(0);
    for (slot, name) in picture.slots.iter().enumerate() {
        let _ = write!(text, "{name:width$} |");
        let own: Vec<_> = picture
            .stays
            .iter()
            .filter(|stay| stay.slot == slot)
            .collect();
        for column in 0..COLUMNS {
            // In this order: a span may be as long as time is.
            let edge = |column: u64| {
                let (whole, rest) = (picture.span / COLUMNS, picture.span % COLUMNS);
                whole * column + rest * column / COLUMNS
            };
            let (from, to) = (edge(column), edge(column + 1));
            let part = |stay: &&&super::Stay| stay.to.min(to).saturating_sub(stay.from.max(from));
            let most = own.iter().max_by_key(part).filter(|stay| part(stay) > 0);
            text.push(most.map_or('.', |stay| letter(stay.queue)));
        }
        text.push_str("|\n");
    }
    for &queue in &shown {
        let Some((owner, _, name)) = picture.queues.get(queue) else {
            continue;
        };
        let priority =
            crate::plan::model::orchestrator::priority_word(picture.owners[*owner].priority);
        let _ = writeln!(text, "{} {name} ({priority})", letter(queue));
    }
    text
}
