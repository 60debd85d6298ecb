// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What is measured of a queue, in memory that does not grow with the number of jobs.

use hdrhistogram::Histogram;
use serde::Serialize;

use super::watch::{Ending, Seen};

/// Figures of one queue.
pub(super) struct QueueFigures {
    pub(super) jobs: u64,
    pub(super) bypassed: u64,
    pub(super) errors: u64,
    submit_to_run: Option<Histogram<u32>>,
    run_to_signal: Option<Histogram<u32>>,
}

/// Three figures of a distribution, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Spread {
    pub(super) p50: u64,
    pub(super) p99: u64,
    pub(super) max: u64,
}

impl QueueFigures {
    /// With `digits` significant decimal digits, 1 to 5.
    pub(super) fn new(digits: u8) -> Self {
        // Refused only for other numbers of digits.
        let histogram = || Histogram::new(digits.clamp(1, 5)).ok();
        Self {
            jobs: 0,
            bypassed: 0,
            errors: 0,
            submit_to_run: histogram(),
            run_to_signal: histogram(),
        }
    }

    /// Adds a job that is over.
    pub(super) fn add(&mut self, seen: &Seen) {
        self.jobs += 1;
        self.bypassed += u64::from(seen.bypass);
        self.errors += u64::from(seen.ending != Some(Ending::Completed));
        if seen.run != 0 {
            record(
                &mut self.submit_to_run,
                seen.run.saturating_sub(seen.queued),
            );
            record(&mut self.run_to_signal, seen.done.saturating_sub(seen.run));
        }
    }

    /// From submission to the run callback.
    pub(super) fn submit_to_run(&self) -> Spread {
        spread(self.submit_to_run.as_ref())
    }

    /// From the run callback to the signal.
    pub(super) fn run_to_signal(&self) -> Spread {
        spread(self.run_to_signal.as_ref())
    }
}

fn record(histogram: &mut Option<Histogram<u32>>, value: u64) {
    if let Some(histogram) = histogram {
        // Refused only by histograms of fixed size.
        let _ = histogram.record(value);
    }
}

fn spread(histogram: Option<&Histogram<u32>>) -> Spread {
    histogram.map_or_else(Spread::default, |histogram| Spread {
        p50: histogram.value_at_quantile(0.5),
        p99: histogram.value_at_quantile(0.99),
        max: histogram.max(),
    })
}
