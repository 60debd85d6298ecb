// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Bugs that can be planted into a run, to show that the checks find them.

use crate::canary::canaries;

canaries! {
    /// A bug that can be planted: between core and its host (`Port`), in
    /// the modelled host or in the modelled driver.
    Canary {
        /// Once the queue is closing or dead, nobody drops payloads any more.
        JobsLeakAtTeardown = "jobs-leak-at-teardown",
        /// Closing waits for the hardware, however long that takes.
        CloseBoundIgnored = "close-bound-ignored",
        /// Cancelled jobs signal from the newest to the oldest.
        CancelledOutOfOrder = "cancelled-out-of-order",
        /// A kill drops the payload of a job whose run callback is still inside.
        PayloadDroppedInRun = "payload-dropped-in-run",
        /// A fence asks its queue for the name of its timeline, also when that is gone.
        FenceNeedsItsQueue = "fence-needs-its-queue",
        /// The driver drops the payload of a job as soon as the hardware is done with it.
        PayloadDroppedByDriver = "payload-dropped-by-driver",
        /// Unbind does not wait for the driver callbacks that are on their way.
        UnbindEndsEarly = "unbind-ends-early",
        /// The driver goes, and the queue is not told.
        UnbindNotTold = "unbind-not-told",
        /// A payload is dropped twice.
        PayloadDroppedTwice = "payload-dropped-twice",
        /// A queue says that it is closed while a payload is still there.
        ClosedEarly = "closed-early",
        /// A queue says twice that it is closed.
        ClosedTwice = "closed-twice",
        /// A queue that is to drain is cancelled.
        DrainIsCancel = "drain-is-cancel",
        /// A queue that is to be cancelled drains.
        CancelIsDrain = "cancel-is-drain",
        /// A visit from inside a fence callback does all that a thread may do.
        WorkInFenceCallback = "work-in-fence-callback",
        /// A fence callback adds a callback to the next fence.
        WaitAddedInFenceCallback = "wait-added-in-fence-callback",
        /// A fence says that it has signalled before its callbacks have run.
        FlagBeforeCallbacks = "flag-before-callbacks",
        /// Payloads are dropped in interrupts, declared droppable there or not.
        DropInInterrupt = "drop-in-interrupt",
        /// Jobs run on the submitting thread where the queue has no bypass.
        RunOnSubmitter = "run-on-submitter",
        /// A kick never reaches the worker.
        KickLost = "kick-lost",
        /// The worker goes to sleep without a last look under the lock.
        IdleWithoutALook = "idle-without-a-look",
        /// The worker is told for ever that there is more for it.
        WorkerNeverRests = "worker-never-rests",
        /// The submitter looks at its job's payload once more after it has handed it over.
        UsedAfterPush = "used-after-push",
        /// Another queue is told of the resources that a job waits for.
        ResourceOfAnotherQueue = "resource-of-another-queue",
        /// A fence of another queue is not waited for.
        DependencySkipped = "dependency-skipped",
        /// A failed dependency counts as a good one.
        DependencyErrorLost = "dependency-error-lost",
        /// An error is signalled as success.
        ErrorLost = "error-lost",
        /// A job that its submitter dropped between arm and submit is forgotten.
        DroppedJobForgotten = "dropped-job-forgotten",
        /// A cancelled job runs all the same.
        CancelForgotten = "cancel-forgotten",
        /// A fence is signalled twice.
        SignalTwice = "signal-twice",
        /// A job that finds no resources keeps its credits.
        CreditsLeak = "credits-leak",
        /// Of two sequence numbers the smaller is taken for the older, around the wrap, too.
        NumbersDoNotWrap = "numbers-do-not-wrap",
        /// Of several completions that one interrupt stands for, only the first is passed on.
        CompletionLost = "completion-lost",
        /// A spurious interrupt is taken for the completion of the oldest job.
        SpuriousCompletes = "spurious-completes",
        /// The payload of a job is dropped while its timeout is looked into.
        PayloadDroppedInTimeout = "payload-dropped-in-timeout",
        /// A job that is done and not yet signalled times out.
        FinishedJobTimesOut = "finished-job-times-out",
        /// A job that did not hang after all is off the list for good.
        JobWithoutHangLost = "job-without-hang-lost",
        /// The completion of a job sets the timer for it once more.
        TimerForFinishedJob = "timer-for-finished-job",
        /// A driver may ask for more time for ever.
        ExtensionsUnbounded = "extensions-unbounded",
        /// The timer is not set.
        TimerLost = "timer-lost",
        /// A job that completed while the driver looked into it is a strike all the same.
        FinishedJobStrikes = "finished-job-strikes",
        /// Time counts while the queue is suspended.
        SuspendedTimeCounts = "suspended-time-counts",
        /// A timeout callback resets the device, whoever else does.
        TwoResetsAtOnce = "two-resets-at-once",
        /// A job that is to be replayed is handed to the run callback once more, too.
        RunAgain = "run-again",
        /// Jobs are walked while driver callbacks are out.
        WalkWithoutStop = "walk-without-stop",
        /// A recovery goes on before the driver callbacks that run have returned.
        StopDoesNotWait = "stop-does-not-wait",
        /// A stop is granted and does not hold anything.
        StopForgotten = "stop-forgotten",
        /// Jobs are walked, and replayed, from the second on.
        WalkOutOfOrder = "walk-out-of-order",
        /// A completion of an attempt before the present one ends the job.
        StaleCompletionAccepted = "stale-completion-accepted",
        /// A replayed job gets a fence of its own, and nobody signals the first.
        ReplayGetsANewFence = "replay-gets-a-new-fence",
        /// A reset ends every job that was on the ring as guilty.
        InnocentPunished = "innocent-punished",
        /// A reset puts the job back that hung.
        GuiltyReplayed = "guilty-replayed",
        /// Nobody is told that a recovery is wanted.
        RecoveryNotTold = "recovery-not-told",
        /// A recovery does not start the queues again that it has stopped.
        RestartForgotten = "restart-forgotten",
        /// Repeated guilt has no consequence.
        BanIgnored = "ban-ignored",
        /// A ring that grows forgets the jobs that do not keep their places.
        MovedJobForgotten = "moved-job-forgotten",
        /// Rooms that were set aside are given back twice.
        RoomPutBackTwice = "room-put-back-twice",
        /// What a worker reports to the gate is lost.
        ReportLost = "report-lost",
        /// A gate that is to yield stays open.
        YieldForgotten = "yield-forgotten",
        /// Time counts while the gate is shut.
        ShutTimeCounts = "shut-time-counts",
    }
}

/// Which bug is planted. Without the feature `canary` there is never one, and asking costs nothing.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Plant {
    #[cfg(feature = "canary")]
    planted: Option<Canary>,
}

impl Plant {
    #[cfg(feature = "canary")]
    pub(crate) const fn new(planted: Option<Canary>) -> Self {
        Self { planted }
    }

    /// The bug that is planted.
    #[inline(always)]
    pub(crate) fn planted(self) -> Option<Canary> {
        #[cfg(feature = "canary")]
        return self.planted;
        #[cfg(not(feature = "canary"))]
        None
    }

    #[inline(always)]
    pub(crate) fn is(self, canary: Canary) -> bool {
        self.planted() == Some(canary)
    }
}
