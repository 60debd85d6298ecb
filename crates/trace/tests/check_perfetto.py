#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0 OR MIT
"""Decodes a Perfetto trace of Ringfence with Perfetto's own descriptors, and counts what is in it.

usage: check_perfetto.py TRACE [EXPECTED]

Prints a JSON object. With EXPECTED (a JSON object, or @FILE), every key in it must have the same
value in what was counted; objects are compared key by key. Exit status: 0 all is well, 1 the trace
has problems or differs from what was expected, 2 bad usage.

Needs the package `perfetto` (pip install perfetto protobuf).
"""

import collections
import json
import sys

from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import Trace, TrackEvent


def count(data):
    """Counts what is in the serialised trace `data`; what is wrong with it stands in `problems`."""
    trace = Trace()
    trace.ParseFromString(data)
    tracks, problems = {}, []
    queues = collections.defaultdict(lambda: {"queued": 0, "running": 0, "never_ran": 0})
    slots, instants = collections.Counter(), collections.Counter()
    starts, ends_of_flows = collections.Counter(), collections.Counter()
    first_seen = {}
    depth = collections.Counter()
    begins = ends = unfinished = out_of_order = overlaps = 0
    last = None

    def queue_of(uuid):
        track = tracks[uuid]
        if track.name in ("queued", "running") and track.parent_uuid in tracks:
            track = tracks[track.parent_uuid]
        return track.name

    for packet in trace.packet:
        if packet.HasField("track_descriptor"):
            descriptor = packet.track_descriptor
            if descriptor.uuid in tracks:
                problems.append(f"track {descriptor.uuid} is declared twice")
            if descriptor.HasField("parent_uuid") and descriptor.parent_uuid not in tracks:
                problems.append(f"track {descriptor.uuid} comes before its parent")
            tracks[descriptor.uuid] = descriptor
            continue
        if not packet.HasField("track_event"):
            problems.append("a packet is neither a track nor an event")
            continue
        event = packet.track_event
        if event.track_uuid not in tracks:
            problems.append(f"an event is on the undeclared track {event.track_uuid}")
            continue
        if last is not None and packet.timestamp < last:
            out_of_order += 1
        last = packet.timestamp
        category = event.categories[0] if event.categories else None
        if event.type == TrackEvent.TYPE_SLICE_BEGIN:
            begins += 1
            depth[event.track_uuid] += 1
            overlaps += depth[event.track_uuid] > 1
            if category == "slot":
                slots[tracks[event.track_uuid].name] += 1
            elif category in ("queued", "running"):
                queues[queue_of(event.track_uuid)][category] += 1
            else:
                problems.append(f"a slice has the category {category!r}")
        elif event.type == TrackEvent.TYPE_SLICE_END:
            ends += 1
            depth[event.track_uuid] -= 1
            if depth[event.track_uuid] < 0:
                problems.append("a slice ends that did not begin")
        elif event.type == TrackEvent.TYPE_INSTANT:
            if category == "never_ran":
                queues[queue_of(event.track_uuid)]["never_ran"] += 1
            else:
                instants[event.name] += 1
        else:
            problems.append(f"an event has the type {event.type}")
        unfinished += any(note.name == "unfinished" for note in event.debug_annotations)
        for flow in event.flow_ids:
            starts[flow] += 1
            first_seen.setdefault(flow, "start")
        for flow in event.terminating_flow_ids:
            ends_of_flows[flow] += 1
            first_seen.setdefault(flow, "end")

    whole = [f for f in starts if starts[f] == 1 and ends_of_flows[f] == 1]
    whole = [f for f in whole if first_seen[f] == "start"]
    if len(whole) != len(starts.keys() | ends_of_flows.keys()):
        problems.append("a flow does not start once and then end once")
    if begins != ends or any(depth.values()):
        problems.append(f"{begins} slices begin, {ends} end")
    if out_of_order:
        problems.append(f"{out_of_order} events are older than the one before")
    if overlaps:
        problems.append(f"{overlaps} slices overlap another on their track")
    return {
        "packets": len(trace.packet),
        "tracks": len(tracks),
        "queues": dict(queues),
        "slots": dict(slots),
        "instants": dict(instants),
        "flows": len(whole),
        "begins": begins,
        "ends": ends,
        "unfinished": unfinished,
        "problems": problems,
    }


def differences(expected, counted, path=""):
    """Where `counted` is not what was expected."""
    if isinstance(expected, dict) and isinstance(counted, dict):
        return [
            line
            for key, value in expected.items()
            for line in differences(value, counted.get(key), f"{path}.{key}")
        ]
    if expected == counted:
        return []
    return [f"{path.lstrip('.')}: expected {expected!r}, counted {counted!r}"]


def main(arguments):
    if len(arguments) not in (1, 2):
        print(__doc__, file=sys.stderr)
        return 2
    with open(arguments[0], "rb") as file:
        result = count(file.read())
    if len(arguments) == 2:
        expected = arguments[1]
        if expected.startswith("@"):
            with open(expected[1:], encoding="utf-8") as file:
                expected = file.read()
        result["problems"] += differences(json.loads(expected), dict(result, problems=[]))
    print(json.dumps(result, indent=2, sort_keys=True))
    return 1 if result["problems"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
