// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A queue as its trace events show it.

use kernel::prelude::*;

use ringfence::{Errno, Queue, Timeline};

use crate::rig::hooks::{Event, Trace};
use crate::rig::{done, submit, Does, Mock, Rig, What};

/// The trace events take the place of the observer that queues have in user space.
pub(crate) fn watched() -> Result {
    let trace = match Trace::begin() {
        Err(error) if error == EOPNOTSUPP => {
            pr_info!("watched: no trace events\n");
            return Ok(());
        }
        trace => trace?,
    };
    let rig = Rig::new()?;
    let queue = rig.build(Queue::<Mock>::builder(c"q").client(77))?;
    let timeline = Timeline::new(c"test", c"t", GFP_KERNEL)?;
    let (signaller, dependency) = timeline.signaller(GFP_KERNEL)?;
    let fence = submit(&queue, rig.gpu.waits(1), &[&dependency])?;
    signaller.signal(Ok(()));
    rig.gpu.complete(1, Err(Errno::EIO))?;
    ensure_eq!(done(&fence)?, Err(Errno::EIO));
    let (signaller, room) = timeline.signaller(GFP_KERNEL)?;
    let then = KBox::new(Does::Done, GFP_KERNEL)?;
    let again = submit(
        &queue,
        rig.gpu.work(2, Does::NoRoom(room.clone(), then)),
        &[],
    )?;
    rig.gpu.wait_for(2, What::RunEnds)?;
    signaller.signal(Ok(()));
    ensure_eq!(done(&again)?, Ok(()));
    let seen = trace.end()?;
    let wanted = [
        Event::add_dep(&fence, &dependency),
        Event::queue(&fence, 0, 0, 77),
        Event::run(&fence, 0, 1, 77),
        Event::done(&fence, Errno::EIO.get()),
        Event::queue(&again, 0, 0, 77),
        Event::run(&again, 0, 1, 77),
        Event::unschedulable(&again, &room),
        Event::run(&again, 0, 1, 77),
        Event::done(&again, 0),
    ];
    ensure_eq!(*seen, wanted);
    drop((queue, timeline));
    rig.finish()
}
