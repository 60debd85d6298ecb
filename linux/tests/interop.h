/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * What the rest of the kernel does with a fence, for tests to do with ours: put it
 * in a file descriptor, in an array or chain, in a reservation object; and a fence
 * implementation as older drivers have them, to be our dependency.
 *
 * Called from a task that may sleep, unless a function says otherwise. A fence
 * given to a function stays the caller's; a fence returned is a reference that the
 * caller puts. Nothing but scalars and pointers is passed or returned.
 */

#ifndef RINGFENCE_TESTS_INTEROP_H
#define RINGFENCE_TESTS_INTEROP_H

#include <linux/types.h>

struct dma_fence;
struct interop_timeline;

/*
 * Makes a sync_file of @fence, installs it as a file descriptor of this task, asks
 * for the descriptor's fence, and closes it. 1: it was the same fence; 0: another;
 * or a negative error.
 */
int interop_sync_file_roundtrip(struct dma_fence *fence);

/*
 * The fence that signals when all @count @fences have, with the first error of them.
 * NULL if out of memory.
 */
struct dma_fence *interop_array(struct dma_fence *const *fences, u32 count);

/*
 * The fence that signals when @fence and @previous have: a point @seqno on a drm
 * timeline syncobj. @previous may be NULL. NULL if out of memory.
 */
struct dma_fence *interop_chain(struct dma_fence *previous,
				struct dma_fence *fence, u64 seqno);

/*
 * Puts @fence into a reservation object with @usage (enum dma_resv_usage) and waits
 * for everything in it. 1: signalled, and the object agrees; 0: timed out;
 * or a negative error.
 */
int interop_resv_add_and_wait(struct dma_fence *fence, u32 usage,
			      u32 timeout_ms);

/*
 * A timeline as older drivers have them: one lock outside the fences for all of
 * them, held while callbacks are called, and a release operation of its own.
 */

/* NULL if out of memory. */
struct interop_timeline *interop_timeline_create(void);

/* A fence for the timeline's next sequence number, from 1. NULL if out of memory. */
struct dma_fence *interop_timeline_fence(struct interop_timeline *timeline);

/*
 * Signals the fences up to @seqno that are still open, in order, with @error
 * (0, or a negative errno). Any context.
 */
void interop_timeline_advance(struct interop_timeline *timeline, u64 seqno,
			      int error);

/*
 * Signals what is still open with -ECANCELED and gives the timeline up. Its memory
 * goes with the last of its fences.
 */
void interop_timeline_destroy(struct interop_timeline *timeline);

/*
 * Signals @fence, of whatever kind, with @error from hard interrupt context; returns
 * when that is done. False if it had been signalled before, or if the context was
 * not a hard interrupt.
 */
bool interop_signal_in_irq(struct dma_fence *fence, int error);

/* interop_timeline_advance() in hard interrupt context; returns when it is done. */
bool interop_timeline_advance_in_irq(struct interop_timeline *timeline,
				     u64 seqno, int error);

/*
 * How many fences of all timelines are not released. Files closed by the round trip
 * are waited for, so a test that put all its fences sees 0. Not what RCU still holds.
 */
u32 interop_open_count(void);

#endif /* RINGFENCE_TESTS_INTEROP_H */
