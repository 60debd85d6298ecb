// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Writes a recording as a native Perfetto trace, to be opened in <https://ui.perfetto.dev>.
//!
//! What a trace holds, so that it can be counted:
//!
//! * one track per queue, with child tracks named `queued` and `running`; jobs of one queue overlap,
//!   so there are as many of each as the slices need (the viewer shows them as one);
//! * per job that was queued exactly one slice of category `queued`, from submission to the hand-over
//!   to hardware;
//! * per job that ran exactly one slice of category `running`, from there to its finished fence;
//! * per job that never ran one instant `never ran`, of category `never_ran`, on the queue's track,
//!   where the job ended;
//! * per dependency exactly one flow: it starts at the `running` slice of the job waited for and ends
//!   at the `running` slice of the job that waited. The `never ran` instant stands in for a job that
//!   never ran, and an instant `fence C:S`, of category `fence`, on the track `other fences`
//!   for one that the recording does not know;
//! * one track per hardware slot, with a slice of category `slot` for each time slice;
//! * instants of category `instant` for timeouts, faults and the like, on the queue's or slot's track.
//!
//! Every slice that begins ends: what was unfinished ends with the trace and is annotated
//! `unfinished`. Packets stand in the order of time. The same recording gives the same bytes.

use std::io::{self, Write};

use prost::encoding::{encode_key, encode_varint, WireType};
use prost::Message;

use crate::event::Trace;

mod items;
mod jobs;
mod lanes;
pub mod proto;
mod tracks;

use items::{Items, Part};
use jobs::Jobs;
use tracks::TrackTable;

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Bytes.
    pub bytes: u64,
    /// Trace packets, track descriptors included.
    pub packets: u64,
    /// Slices of category `queued`.
    pub queued: u64,
    /// Slices of category `running`.
    pub running: u64,
    /// Instants `never ran`.
    pub never_ran: u64,
    /// Slices on hardware slots.
    pub slot_slices: u64,
    /// Flows, one for each dependency.
    pub flows: u64,
    /// Instants for timeouts, faults and the like.
    pub instants: u64,
    /// Slices that were ended because the trace ended.
    pub unfinished: u64,
}

/// All packets belong to one sequence: one writer wrote them.
const SEQUENCE: u32 = 1;

/// `SEQ_INCREMENTAL_STATE_CLEARED`: nothing before the first packet is needed to read it.
const STATE_CLEARED: u32 = 1;

/// Writes `trace` to `out`, in many small writes: hand in something buffered. Allocates.
///
/// # Errors
///
/// Whatever `out` answers to a write.
pub fn write(trace: &Trace, out: &mut impl Write) -> io::Result<Written> {
    let jobs = Jobs::collect(trace);
    let mut tracks = TrackTable::new(trace);
    let items = Items::collect(&jobs, &mut tracks);
    let mut packets = Packets {
        out,
        written: Written::default(),
        buffer: Vec::new(),
    };
    for descriptor in tracks.descriptors() {
        packets.put(proto::TracePacket {
            track_descriptor: Some(descriptor),
            ..proto::TracePacket::default()
        })?;
    }
    for item in &items.list {
        packets.count(&item.part, items.is_unfinished(item, &jobs));
        packets.put(proto::TracePacket {
            timestamp: Some(item.key.time),
            track_event: Some(items.event(item, &jobs)),
            ..proto::TracePacket::default()
        })?;
    }
    packets.written.flows = jobs.dependencies.len() as u64;
    if trace.dropped > 0 {
        packets.put(dropped(trace.dropped, jobs.end.time))?;
    }
    Ok(packets.written)
}

/// The instant that says the recording is not whole.
fn dropped(events: u64, time: u64) -> proto::TracePacket {
    proto::TracePacket {
        timestamp: Some(time),
        track_event: Some(proto::TrackEvent {
            r#type: Some(proto::INSTANT),
            track_uuid: Some(tracks::PROCESS),
            categories: vec!["recorder".into()],
            name: Some("events dropped".into()),
            debug_annotations: vec![proto::DebugAnnotation::uint("events", events)],
            ..proto::TrackEvent::default()
        }),
        ..proto::TracePacket::default()
    }
}

/// Writes packets one by one, so that no second copy of the trace is held.
struct Packets<'a, W> {
    out: &'a mut W,
    written: Written,
    buffer: Vec<u8>,
}

impl<W: Write> Packets<'_, W> {
    fn put(&mut self, mut packet: proto::TracePacket) -> io::Result<()> {
        packet.trusted_packet_sequence_id = Some(SEQUENCE);
        if self.written.packets == 0 {
            packet.sequence_flags = Some(STATE_CLEARED);
            packet.first_packet_on_sequence = Some(true);
        }
        self.buffer.clear();
        // `Trace` is nothing but a repeated field 1.
        encode_key(1, WireType::LengthDelimited, &mut self.buffer);
        encode_varint(packet.encoded_len() as u64, &mut self.buffer);
        packet.encode_raw(&mut self.buffer);
        self.out.write_all(&self.buffer)?;
        self.written.packets += 1;
        self.written.bytes += self.buffer.len() as u64;
        Ok(())
    }

    fn count(&mut self, part: &Part, unfinished: bool) {
        let written = &mut self.written;
        match part {
            Part::QueuedBegin(_) => written.queued += 1,
            Part::RunningBegin(_) => written.running += 1,
            Part::NeverRan(_) => written.never_ran += 1,
            Part::SlotBegin { .. } => written.slot_slices += 1,
            Part::Instant { .. } => written.instants += 1,
            Part::QueuedEnd | Part::RunningEnd | Part::SlotEnd | Part::OtherFence { .. } => {}
        }
        written.unfinished += u64::from(unfinished);
    }
}
