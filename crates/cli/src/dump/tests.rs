// SPDX-License-Identifier: GPL-2.0 OR MIT
use std::fmt::Write as _;
use std::io;
use std::time::Duration;

use super::{Dumper, Page, Why};
use crate::args::DumpWhen;
use crate::signals::Signals;

fn dumper(when: Option<DumpWhen>, signals: &Signals) -> Dumper {
    Dumper::new(when, false, signals.clone(), 4)
}

#[test]
fn a_page_is_written_whole_however_it_is_cut() {
    let mut written = Vec::new();
    let mut page = Vec::with_capacity(8);
    let mut text = Page {
        page: &mut page,
        out: &mut written,
    };
    for piece in [
        "",
        "three",
        " words, and ",
        "a piece longer than a page",
        ".",
    ] {
        text.write_str(piece).expect("memory takes it");
    }
    text.flush().expect("memory takes it");
    assert_eq!(page.capacity(), 8, "no memory was taken");
    assert_eq!(written, b"three words, and a piece longer than a page.");
}

#[test]
fn who_does_not_read_is_noticed() {
    struct Gone;
    impl io::Write for Gone {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut page = Vec::with_capacity(2);
    let mut text = Page {
        page: &mut page,
        out: &mut Gone,
    };
    assert!(text.write_str("longer than two").is_err());
}

#[test]
fn sigusr1_shows_once_whatever_was_said() {
    for when in [None, Some(DumpWhen::Half)] {
        let signals = Signals::default();
        let dumper = dumper(when, &signals);
        assert_eq!(dumper.due(), None);
        signals.ask();
        assert_eq!(dumper.due(), Some(Why::Asked));
        assert_eq!(dumper.due(), None);
    }
}

#[test]
fn periods_that_were_missed_are_made_up_for_once() {
    let every = Duration::from_millis(1);
    let dumper = dumper(Some(DumpWhen::Every(every)), &Signals::default());
    while dumper.start.elapsed() < 5 * every {
        std::hint::spin_loop();
    }
    assert_eq!(dumper.due(), Some(Why::Period));
    let periods = dumper.lock().periods;
    assert!(periods >= 5, "{periods}");
    let never = Duration::from_secs(1_000_000);
    let slow = Dumper::new(Some(DumpWhen::Every(never)), false, Signals::default(), 4);
    assert_eq!(slow.due(), None);
    assert_eq!(slow.nap(), super::LOOK, "signals are still looked at");
}
