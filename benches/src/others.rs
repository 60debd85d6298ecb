// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The other side: what people would do without Ringfence.

use std::collections::VecDeque;
use std::hint::black_box;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, Thread};

use crossbeam_channel::Sender;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot};

use crate::jobs::IN_FLIGHT;

/// One lock and unlock of a mutex nobody contends for, and one `Arc` of 128 bytes (its two counts
/// included) made and dropped.
pub(crate) struct Floor(Mutex<u64>);

impl Floor {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(0))
    }

    pub(crate) fn run(&mut self, jobs: u32) {
        let mutex = black_box(&self.0);
        for _ in 0..jobs {
            *mutex.lock().expect("no panic inside") += 1;
            black_box(Arc::new([0u8; 112]));
        }
    }
}

const WAITED_FOR: u32 = 1;
const DONE: u32 = 2;

/// How often the producer lets others run before it sleeps. Enough that it seldom does, which is
/// best for the channel.
const YIELDS: u32 = 16;

/// What goes through the channel. Its producer looks, yields and sleeps at last, until it is done.
struct Item {
    state: AtomicU32,
    payload: u64,
}

impl Item {
    fn complete(&self, producer: &Thread) {
        black_box(self.payload);
        if self.state.swap(DONE, Ordering::AcqRel) == WAITED_FOR {
            producer.unpark();
        }
    }

    fn wait(&self) {
        for _ in 0..YIELDS {
            if self.state.load(Ordering::Acquire) == DONE {
                return;
            }
            thread::yield_now();
        }
        let wish = self
            .state
            .compare_exchange(0, WAITED_FOR, Ordering::AcqRel, Ordering::Acquire);
        while wish.is_ok() && self.state.load(Ordering::Acquire) != DONE {
            thread::park();
        }
    }
}

/// A thread behind a bounded channel.
pub(crate) struct Channel {
    sender: Sender<Arc<Item>>,
    items: VecDeque<Arc<Item>>,
}

impl Channel {
    /// To be run on the thread that makes it.
    pub(crate) fn new() -> Self {
        let (sender, receiver) = crossbeam_channel::bounded::<Arc<Item>>(IN_FLIGHT);
        let producer = thread::current();
        // Ends with the sender.
        thread::spawn(move || receiver.iter().for_each(|item| item.complete(&producer)));
        Self {
            sender,
            items: VecDeque::with_capacity(IN_FLIGHT),
        }
    }

    pub(crate) fn run(&mut self, jobs: u32) {
        for number in 0..jobs {
            if self.items.len() == IN_FLIGHT {
                self.wait_for_oldest();
            }
            let item = Arc::new(Item {
                state: AtomicU32::new(0),
                payload: u64::from(number),
            });
            self.sender.send(Arc::clone(&item)).expect("a consumer");
            self.items.push_back(item);
        }
        while !self.items.is_empty() {
            self.wait_for_oldest();
        }
    }

    fn wait_for_oldest(&mut self) {
        if let Some(item) = self.items.pop_front() {
            item.wait();
        }
    }
}

type Answered = (u64, oneshot::Sender<u64>);

/// A task on a runtime's one worker thread, behind a bounded channel, that answers each item.
pub(crate) struct Tasks {
    runtime: Runtime,
    sender: mpsc::Sender<Answered>,
    answers: VecDeque<oneshot::Receiver<u64>>,
}

impl Tasks {
    pub(crate) fn new() -> Self {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).build().expect("a runtime");
        let (sender, mut receiver) = mpsc::channel::<Answered>(IN_FLIGHT);
        // Ends with the sender.
        runtime.spawn(async move {
            while let Some((payload, answer)) = receiver.recv().await {
                // Nobody drops a receiver before its answer.
                let _ = answer.send(payload);
            }
        });
        Self {
            runtime,
            sender,
            answers: VecDeque::with_capacity(IN_FLIGHT),
        }
    }

    pub(crate) fn run(&mut self, jobs: u32) {
        let Self {
            runtime,
            sender,
            answers,
        } = self;
        runtime.block_on(async {
            for number in 0..jobs {
                if answers.len() == IN_FLIGHT {
                    wait_for_oldest(answers).await;
                }
                let (answer, receiver) = oneshot::channel();
                let item = (u64::from(number), answer);
                sender.send(item).await.expect("a consumer");
                answers.push_back(receiver);
            }
            while !answers.is_empty() {
                wait_for_oldest(answers).await;
            }
        });
    }
}

async fn wait_for_oldest(answers: &mut VecDeque<oneshot::Receiver<u64>>) {
    if let Some(receiver) = answers.pop_front() {
        black_box(receiver.await.expect("an answer"));
    }
}
