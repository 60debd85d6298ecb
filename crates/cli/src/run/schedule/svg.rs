// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A schedule as SVG: a row for each slot, colours for owners. It has no background, and its colours
//! can be seen on a light page and on a dark one.

use std::fmt::Write as _;

use ringfence_orchestrator::Priority;

use super::{Picture, Stay};
use crate::plan::model::orchestrator::priority_word;

const WIDTH: f64 = 960.0;
const LEFT: f64 = 110.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 62.0;
const ROW: f64 = 34.0;
const BAR: f64 = 26.0;
const LEGEND_LINE: f64 = 22.0;

/// Shades of a colour, for the queues of one owner.
const SHADES: usize = 5;

/// Letters have about this width.
const LETTER: f64 = 7.0;

const STYLE: &str = "\
text { font: 12px system-ui, sans-serif; fill: #57606a; }
.title { font-size: 15px; font-weight: 600; }
.in { fill: #fff; font-size: 11px; text-anchor: middle; }
.axis { stroke: #8c959f; stroke-width: 1; opacity: 0.35; }
.track { fill: #8c959f; opacity: 0.12; }
.cut { stroke: #1f2328; stroke-width: 2; }
@media (prefers-color-scheme: dark) {
  text { fill: #c9d1d9; }
  .in { fill: #fff; }
  .cut { stroke: #f0f6fc; }
}
";

/// The colours of each priority: warm for what is urgent, grey for what can wait.
fn colours(priority: Priority) -> &'static [&'static str] {
    match priority {
        Priority::Kernel => &["#8250df", "#a475f9"],
        Priority::High => &["#d1510a", "#c9356c", "#b58407"],
        Priority::Normal => &["#2172c9", "#1a8a72", "#4f6bd8", "#3c8a3f", "#20849c"],
        Priority::Low => &["#7a828b", "#8f7f6b"],
    }
}

/// The colour of each owner.
fn palette(picture: &Picture) -> Vec<&'static str> {
    let mut used = [0; Priority::COUNT];
    let owners = picture.owners.iter();
    let next = |owner: &super::Owner| {
        let colours = colours(owner.priority);
        let used = &mut used[owner.priority.level()];
        *used += 1;
        colours[(*used - 1) % colours.len()]
    };
    owners.map(next).collect()
}

/// A shade of `colour` (`#rrggbb`) for one of several queues of an owner.
fn shade(colour: &str, member: usize) -> String {
    // How much white, or black where it is below zero, is mixed in.
    let mix = [0, 22, -22, 40, -38][member % SHADES];
    let channel = |at: usize| {
        let value = colour
            .get(at..at + 2)
            .and_then(|digits| i32::from_str_radix(digits, 16).ok());
        let value = value.unwrap_or(128);
        let mixed = if mix > 0 {
            value + (255 - value) * mix / 100
        } else {
            value * (100 + mix) / 100
        };
        mixed.clamp(0, 255)
    };
    format!("#{:02x}{:02x}{:02x}", channel(1), channel(3), channel(5))
}

/// Text that may stand in XML.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            c => escaped.push(c),
        }
    }
    escaped
}

struct Canvas<'a> {
    picture: &'a Picture,
    palette: Vec<&'static str>,
    out: String,
}

/// Draws it.
pub(super) fn draw(picture: &Picture) -> String {
    let mut canvas = Canvas {
        picture,
        palette: palette(picture),
        out: String::new(),
    };
    let rows = picture.slots.len() as f64;
    let bottom = TOP + rows * ROW;
    let legend = canvas.legend(bottom + 46.0);
    let height = legend.1 + 8.0;
    canvas.head(height);
    canvas.rows(bottom);
    for stay in &picture.stays {
        canvas.stay(stay);
    }
    canvas.marks();
    canvas.out.push_str(&legend.0);
    canvas.out.push_str("</svg>\n");
    canvas.out
}

// Writing to a string does not fail.
impl Canvas<'_> {
    fn x(&self, ns: u64) -> f64 {
        let part = ns as f64 / self.picture.span.max(1) as f64;
        LEFT + part * (WIDTH - LEFT - RIGHT)
    }

    fn colour(&self, queue: usize) -> String {
        let Some((owner, member, _)) = self.picture.queues.get(queue) else {
            return "#7a828b".to_owned();
        };
        shade(self.palette[*owner], *member)
    }

    fn head(&mut self, height: f64) {
        let title = escape(&self.picture.title);
        let ms = self.picture.span as f64 / 1e6;
        let _ = write!(
            self.out,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH:.0} {height:.0}\" \
             role=\"img\">\n<title>{title}: {ms:.0} ms of its schedule</title>\n\
             <style>\n{STYLE}</style>\n\
             <text class=\"title\" x=\"{LEFT}\" y=\"22\">{title}</text>\n"
        );
    }

    /// The rows, and time below them.
    fn rows(&mut self, bottom: f64) {
        for (slot, name) in self.picture.slots.iter().enumerate() {
            let y = TOP + slot as f64 * ROW;
            let _ = write!(
                self.out,
                "<text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"end\">{}</text>\n\
                 <rect class=\"track\" x=\"{LEFT}\" y=\"{y:.0}\" width=\"{:.0}\" \
                 height=\"{BAR}\"/>\n",
                LEFT - 10.0,
                y + 17.0,
                escape(name),
                WIDTH - LEFT - RIGHT
            );
        }
        let step = step(self.picture.span);
        for tick in 0..=self.picture.span / step {
            let x = self.x(tick * step);
            let ms = (tick * step) as f64 / 1e6;
            let _ = write!(
                self.out,
                "<line class=\"axis\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{:.0}\" y2=\"{bottom:.0}\"/>\n\
                 <text x=\"{x:.1}\" y=\"{:.0}\" text-anchor=\"middle\">{ms}</text>\n",
                TOP - 4.0,
                bottom + 14.0
            );
        }
        let _ = writeln!(
            self.out,
            "<text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"end\">ms</text>",
            LEFT - 10.0,
            bottom + 14.0
        );
    }

    /// A stay: pale where the context has nothing to do.
    fn stay(&mut self, stay: &Stay) {
        let (from, to) = (self.x(stay.from), self.x(stay.to));
        let y = TOP + stay.slot as f64 * ROW;
        let fill = self.colour(stay.queue);
        let name = self
            .picture
            .queues
            .get(stay.queue)
            .map_or("", |queue| &queue.2);
        let us = (stay.to - stay.from) / 1000;
        let _ = write!(
            self.out,
            "<g><title>{}: {us} us</title><rect x=\"{from:.1}\" y=\"{y:.0}\" width=\"{:.1}\" \
             height=\"{BAR}\" fill=\"{fill}\" opacity=\"0.4\"/>",
            escape(name),
            (to - from).max(0.8)
        );
        for job in &stay.jobs {
            let (from, to) = (self.x(job.start), self.x(job.end));
            let _ = write!(
                self.out,
                "<rect x=\"{from:.1}\" y=\"{y:.0}\" width=\"{:.1}\" height=\"{BAR}\" \
                 fill=\"{fill}\"/>",
                (to - from - 0.5).max(0.8)
            );
        }
        let label = self.picture.label(stay.queue);
        if let Some(label) = label.filter(|label| to - from > LETTER * label.len() as f64 + 6.0) {
            let _ = write!(
                self.out,
                "<text class=\"in\" x=\"{:.1}\" y=\"{:.0}\">{label}</text>",
                f64::midpoint(from, to),
                y + 17.0
            );
        }
        if stay.cut {
            let x = to - 1.0;
            let _ = write!(
                self.out,
                "<line class=\"cut\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{y:.0}\" y2=\"{:.0}\"/>",
                y + BAR
            );
        }
        self.out.push_str("</g>\n");
    }

    /// Where jobs with a deadline came.
    fn marks(&mut self) {
        for (at, queue) in &self.picture.marks {
            let x = self.x(*at);
            let _ = writeln!(
                self.out,
                "<path d=\"M{:.1} {:.0}h10l-5 9z\" fill=\"{}\"/>",
                x - 5.0,
                TOP - 18.0,
                self.colour(*queue)
            );
        }
    }

    /// Who is who, from `y` on; and where it ends.
    fn legend(&self, y: f64) -> (String, f64) {
        let mut entries = Vec::new();
        for owner in self.picture.seen() {
            let fill = self.palette[owner];
            let owner = &self.picture.owners[owner];
            let several = match owner.queues {
                1 => String::new(),
                queues => format!(", {queues} queues"),
            };
            let word = priority_word(owner.priority);
            let shades = owner.queues.min(SHADES);
            let part = 14.0 / shades as f64;
            let sign = (0..shades).map(|member| {
                let fill = shade(fill, member);
                let x = member as f64 * part;
                format!(
                    "<rect x=\"{x:.1}\" y=\"-10\" width=\"{part:.1}\" height=\"12\" fill=\"{fill}\"/>"
                )
            });
            let sign = sign.collect::<String>();
            entries.push((sign, format!("{} ({word}{several})", owner.name)));
        }
        if self.picture.stays.iter().any(|stay| stay.cut) {
            let sign = "<line class=\"cut\" x1=\"7\" x2=\"7\" y1=\"-11\" y2=\"3\"/>";
            entries.push((
                sign.to_owned(),
                "taken away in the middle of a job".to_owned(),
            ));
        }
        if let Some((_, queue)) = self.picture.marks.first() {
            let fill = self.colour(*queue);
            let sign = format!("<path d=\"M2 -8h10l-5 9z\" fill=\"{fill}\"/>");
            entries.push((sign, "a job with a deadline is submitted".to_owned()));
        }
        flow(&entries, y)
    }
}

/// Signs with words, from left to right and line by line from `y` on; and where they end.
fn flow(entries: &[(String, String)], y: f64) -> (String, f64) {
    let (mut out, mut x, mut y) = (String::new(), LEFT, y);
    for (sign, words) in entries {
        let width = 40.0 + words.chars().count() as f64 * LETTER;
        if x + width > WIDTH && x > LEFT {
            (x, y) = (LEFT, y + LEGEND_LINE);
        }
        let _ = writeln!(
            out,
            "<g transform=\"translate({x:.0} {y:.0})\">{sign}<text x=\"20\" y=\"0\">{}</text></g>",
            escape(words)
        );
        x += width;
    }
    (out, y)
}

/// The distance of ticks: about ten of them.
fn step(span: u64) -> u64 {
    let mut step = 1;
    loop {
        for times in [1, 2, 5] {
            if span / (step * times) <= 12 {
                return step * times;
            }
        }
        step *= 10;
    }
}
