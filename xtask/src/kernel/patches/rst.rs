// SPDX-License-Identifier: GPL-2.0 OR MIT
//! From our Markdown to the kernel's reStructuredText: what our documents use of it, no more.

/// A whole document.
pub(crate) fn rst(markdown: &str) -> String {
    let mut text = ".. SPDX-License-Identifier: (GPL-2.0 OR MIT)\n\n".to_owned();
    let mut lines = markdown.lines().peekable();
    while let Some(line) = lines.next() {
        if line.starts_with("<!--") {
            continue;
        }
        if line.trim_start().starts_with("```") {
            text += "::\n\n";
            for code in lines
                .by_ref()
                .take_while(|line| !line.trim_start().starts_with("```"))
            {
                text += format!("    {code}").trim_end();
                text += "\n";
            }
            text += "\n";
        } else if line.starts_with('|') {
            let mut rows = vec![line];
            while let Some(row) = lines.next_if(|line| line.starts_with('|')) {
                rows.push(row);
            }
            text += &table(&rows);
        } else if let Some((level, title)) = heading(line) {
            let title = inline(title);
            let under = ["=", "=", "-", "~"][level.min(3)].repeat(title.chars().count());
            if level == 1 {
                text += &format!("{under}\n");
            }
            text += &format!("{title}\n{under}\n");
        } else {
            text += &inline(line);
            text += "\n";
        }
    }
    text.trim_end().to_owned() + "\n"
}

fn heading(line: &str) -> Option<(usize, &str)> {
    let title = line.trim_start_matches('#');
    let level = line.len() - title.len();
    (level > 0).then_some((level, title.strip_prefix(' ')?))
}

/// Code and links.
fn inline(line: &str) -> String {
    let mut text = String::new();
    for (index, part) in line.split('`').enumerate() {
        // Every other part is code, where brackets are brackets.
        if index % 2 == 1 {
            text += &format!("``{part}``");
        } else {
            text += &without_links(part);
        }
    }
    text
}

/// `[words](address)` leaves its words.
fn without_links(part: &str) -> String {
    let mut text = String::new();
    let mut rest = part;
    while let Some((before, after)) = rest.split_once('[') {
        text += before;
        let link = after
            .split_once("](")
            .and_then(|(words, more)| Some((words, more.split_once(')')?.1)));
        match link {
            Some((words, more)) => {
                text += words;
                rest = more;
            }
            None => {
                text.push('[');
                rest = after;
            }
        }
    }
    text + rest
}

fn table(rows: &[&str]) -> String {
    let mut text = ".. list-table::\n   :header-rows: 1\n\n".to_owned();
    let is_rule = |row: &&&str| row.chars().all(|c| "|-: ".contains(c));
    for row in rows.iter().filter(|row| !is_rule(row)) {
        let cells = row.trim().trim_matches('|').split('|');
        for (index, cell) in cells.enumerate() {
            let start = if index == 0 { "   * - " } else { "     - " };
            text += format!("{start}{}", inline(cell.trim())).trim_end();
            text += "\n";
        }
    }
    text + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_our_documents_use_is_translated() {
        let markdown = "\
<!-- SPDX-License-Identifier: GPL-2.0 OR MIT -->
# In Linux

Uses `a[0]` and [words](there.md).

## Build

```
make  x
```

| a | b |
|---|---|
| `x` |  |
";
        assert_eq!(
            rst(markdown),
            "\
.. SPDX-License-Identifier: (GPL-2.0 OR MIT)

========
In Linux
========

Uses ``a[0]`` and words.

Build
-----

::

    make  x


.. list-table::
   :header-rows: 1

   * - a
     - b
   * - ``x``
     -
"
        );
    }
}
