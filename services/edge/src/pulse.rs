//! Watches over the connections of a thread: who is too slow, or idle for too long, is cut off.
//!
//! A connection has no timer and reads no clock. It notes what it waits for in its [`Pulse`], and
//! the thread's [`Watch`] looks at all of them a few times a second. So a request pays a few plain
//! stores, and an idle connection nothing.

mod patience;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll, Waker},
};

use tokio_util::sync::CancellationToken;

pub(crate) use self::patience::Times;
use self::patience::{History, Patience, Sample};
use crate::limits::{MAKE_ROOM_MAX, MAKES_ROOM_AFTER_TICKS, TICK};

/// How far a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Before the first request: TLS, or which protocol it is.
    Opening = 0,
    Http1 = 1,
    Http2 = 2,
    /// Another protocol, between visitor and origin.
    Tunnel = 3,
}

/// What a connection waits for from its visitor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Awaited {
    /// Nothing: something is at hand.
    Nothing = 0,
    /// The rest of a head.
    Head = 1,
    /// Another request.
    Request = 2,
    /// Content, or what only the protocol knows.
    More = 3,
}

/// What a connection is told to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Order {
    GoOn = 0,
    /// End what is in flight, begin nothing.
    Drain = 1,
    /// End now.
    Cut = 2,
}

/// What a connection notes about itself. Written by its task, read by the watch of its thread.
#[derive(Debug)]
pub(crate) struct Pulse {
    stage: AtomicU8,
    awaited: AtomicU8,
    order: AtomicU8,
    /// True while the visitor takes no more of what is sent.
    stuck: AtomicBool,
    /// True if the visitor is to be asked whether it is there.
    probe: AtomicBool,
    /// Bytes in both directions.
    moved: AtomicU64,
    /// Bytes the visitor took.
    taken: AtomicU64,
    /// Changes when a request or a response goes on.
    progress: AtomicU32,
    /// Requests whose response is not at its end.
    open: AtomicU32,
    /// The ticks of the watch.
    clock: Arc<AtomicU32>,
    waker: Mutex<Option<Waker>>,
}

impl Pulse {
    fn new(clock: Arc<AtomicU32>, order: Order) -> Self {
        Self {
            stage: AtomicU8::new(Stage::Opening as u8),
            awaited: AtomicU8::new(Awaited::Nothing as u8),
            order: AtomicU8::new(order as u8),
            stuck: AtomicBool::new(false),
            probe: AtomicBool::new(false),
            moved: AtomicU64::new(0),
            taken: AtomicU64::new(0),
            progress: AtomicU32::new(0),
            open: AtomicU32::new(0),
            clock,
            waker: Mutex::default(),
        }
    }

    pub(crate) fn enter(&self, stage: Stage) {
        self.stage.store(stage as u8, Relaxed);
    }

    pub(crate) fn stage(&self) -> Stage {
        match self.stage.load(Relaxed) {
            0 => Stage::Opening,
            1 => Stage::Http1,
            2 => Stage::Http2,
            _ => Stage::Tunnel,
        }
    }

    pub(crate) fn awaits(&self, awaited: Awaited) {
        self.awaited.store(awaited as u8, Relaxed);
    }

    /// Notes so many bytes in one of the directions.
    pub(crate) fn moved(&self, bytes: usize) {
        add(&self.moved, bytes);
    }

    /// Notes so many bytes that the visitor took.
    pub(crate) fn taken(&self, bytes: usize) {
        add(&self.moved, bytes);
        add(&self.taken, bytes);
        self.stuck.store(false, Relaxed);
    }

    /// Notes that the visitor takes no more for now, or that it took all.
    pub(crate) fn stuck(&self, stuck: bool) {
        self.stuck.store(stuck, Relaxed);
    }

    /// True while the rest of a head is waited for.
    pub(crate) fn is_in_head(&self) -> bool {
        self.stage() == Stage::Http1 && self.awaited.load(Relaxed) == Awaited::Head as u8
    }

    pub(crate) fn progress(&self, progress: u32) {
        self.progress.store(progress, Relaxed);
    }

    /// One more request whose response is not at its end.
    pub(crate) fn opened(&self) {
        self.open.fetch_add(1, Relaxed);
    }

    /// One less.
    pub(crate) fn closed(&self) {
        self.open.fetch_sub(1, Relaxed);
    }

    /// The ticks of the watch.
    pub(crate) fn now(&self) -> u32 {
        self.clock.load(Relaxed)
    }

    pub(crate) fn order(&self) -> Order {
        match self.order.load(Relaxed) {
            0 => Order::GoOn,
            1 => Order::Drain,
            _ => Order::Cut,
        }
    }

    /// Lets the task of `cx` be woken when there is an order.
    pub(crate) fn listen(&self, cx: &Context<'_>) {
        *self.waker.lock().unwrap_or_else(PoisonError::into_inner) = Some(cx.waker().clone());
    }

    /// Whether the visitor is to be asked now whether it is there. Says so once.
    pub(crate) fn take_probe(&self) -> bool {
        self.probe.load(Relaxed) && self.probe.swap(false, Relaxed)
    }

    fn tell(&self, order: Order) {
        if self.order() < order {
            self.order.store(order as u8, Relaxed);
            self.wake();
        }
    }

    fn tell_to_probe(&self) {
        self.probe.store(true, Relaxed);
        self.wake();
    }

    fn wake(&self) {
        let waker = self.waker.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// `future`, or `None` if the connection is cut off before. To be polled by one task.
    pub(crate) async fn unless_cut<F: Future>(&self, future: F) -> Option<F::Output> {
        let mut future = std::pin::pin!(future);
        std::future::poll_fn(|cx| {
            self.listen(cx);
            match self.order() {
                Order::Cut => Poll::Ready(None),
                Order::GoOn | Order::Drain => future.as_mut().poll(cx).map(Some),
            }
        })
        .await
    }

    fn sample(&self) -> Sample {
        Sample {
            stage: self.stage(),
            awaits_head: self.awaited.load(Relaxed) == Awaited::Head as u8,
            awaits_request: self.awaited.load(Relaxed) == Awaited::Request as u8,
            awaits_more: self.awaited.load(Relaxed) == Awaited::More as u8,
            stuck: self.stuck.load(Relaxed),
            moved: self.moved.load(Relaxed),
            taken: self.taken.load(Relaxed),
            progress: self.progress.load(Relaxed),
            open: self.open.load(Relaxed),
            draining: self.order() != Order::GoOn,
        }
    }
}

/// One task writes, so that this need not be one step.
fn add(count: &AtomicU64, bytes: usize) {
    let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
    count.store(count.load(Relaxed).wrapping_add(bytes), Relaxed);
}

/// The connections of one thread.
#[derive(Debug)]
pub(crate) struct Watch {
    patience: Patience,
    clock: Arc<AtomicU32>,
    watched: Mutex<Watched>,
}

#[derive(Debug, Default)]
struct Watched {
    draining: bool,
    next: u64,
    connections: HashMap<u64, (Arc<Pulse>, History)>,
    /// Those that have waited for their visitors, the longest last, and at which tick.
    waiting: Vec<u64>,
    listed_at: Option<u32>,
}

/// Keeps a connection under watch as long as it is held.
#[derive(Debug)]
pub(crate) struct Under {
    watch: Arc<Watch>,
    number: u64,
    pub(crate) pulse: Arc<Pulse>,
}

impl Drop for Under {
    fn drop(&mut self) {
        self.watch.lock().connections.remove(&self.number);
    }
}

impl Watch {
    pub(crate) fn new(times: Times) -> Self {
        let clock = Arc::default();
        Self { patience: times.into(), clock, watched: Mutex::default() }
    }

    /// Watches over one more connection.
    pub(crate) fn add(self: &Arc<Self>) -> Under {
        let mut watched = self.lock();
        let order = if watched.draining { Order::Drain } else { Order::GoOn };
        let pulse = Arc::new(Pulse::new(Arc::clone(&self.clock), order));
        let number = watched.next;
        watched.next += 1;
        watched.connections.insert(number, (Arc::clone(&pulse), History::default()));
        Under { watch: Arc::clone(self), number, pulse }
    }

    /// Lets all connections end what is in flight, and begin nothing.
    pub(crate) fn drain(&self) {
        let mut watched = self.lock();
        watched.draining = true;
        for (pulse, _) in watched.connections.values() {
            pulse.tell(Order::Drain);
        }
    }

    /// Looks at all connections from time to time until `stop`.
    pub(crate) async fn run(&self, stop: &CancellationToken) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            self.tick();
        }
    }

    /// Cuts off the connection that has waited for its visitor the longest, so that another one may
    /// come. False if none has waited for long.
    pub(crate) fn make_room(&self) -> bool {
        let mut watched = self.lock();
        let tick = self.clock.load(Relaxed);
        if watched.listed_at != Some(tick) {
            watched.list_waiting();
            watched.listed_at = Some(tick);
        }
        while let Some(number) = watched.waiting.pop() {
            if let Some((pulse, history)) = watched.connections.get(&number)
                && history.kept_waiting(pulse.sample()) > 0
                && pulse.order() != Order::Cut
            {
                pulse.tell(Order::Cut);
                return true;
            }
        }
        false
    }

    fn tick(&self) {
        self.clock.fetch_add(1, Relaxed);
        let mut watched = self.lock();
        for (pulse, history) in watched.connections.values_mut() {
            let order = history.judge(pulse.sample(), &self.patience);
            pulse.tell(order);
            if history.probes(&self.patience) {
                pulse.tell_to_probe();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Watched> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watched {
    /// Lists who has been waiting for long, as many as may have to make room within a tick.
    fn list_waiting(&mut self) {
        let waited = self.connections.iter().map(|(number, (pulse, history))| {
            let ticks = history.kept_waiting(pulse.sample());
            (ticks, std::cmp::Reverse(*number))
        });
        let mut waited: Vec<_> =
            waited.filter(|(ticks, _)| *ticks >= MAKES_ROOM_AFTER_TICKS).collect();
        waited.sort_unstable();
        waited.drain(..waited.len().saturating_sub(MAKE_ROOM_MAX));
        self.waiting = waited.into_iter().map(|(_, number)| number.0).collect();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn whoever_waited_longest_makes_room() {
        let second = Duration::from_secs(1);
        let watch = Arc::new(Watch::new(Times {
            opening: 60 * second,
            head: 60 * second,
            idle: 60 * second,
            send: 60 * second,
            stalled: 60 * second,
            tunnel: 60 * second,
        }));
        assert!(!watch.make_room(), "nobody is there");
        // Each has waited for some ticks longer than the next.
        let waits = |stage, awaited| {
            let under = watch.add();
            under.pulse.enter(stage);
            under.pulse.awaits(awaited);
            watch.tick();
            under
        };
        let tunnel = waits(Stage::Tunnel, Awaited::More);
        let in_head = waits(Stage::Http1, Awaited::Head);
        let uploads = waits(Stage::Http1, Awaited::More);
        let idle = waits(Stage::Http1, Awaited::Request);
        let asks_again = waits(Stage::Http1, Awaited::Request);
        let opening = waits(Stage::Opening, Awaited::Nothing);
        let served = waits(Stage::Http1, Awaited::Nothing);
        let busy = waits(Stage::Http1, Awaited::Request);
        busy.pulse.opened();
        let new = waits(Stage::Http1, Awaited::Request);
        let left = || {
            let all = [&tunnel, &in_head, &uploads, &idle, &asks_again, &opening, &new, &busy];
            let stays = |under: &&&Under| under.pulse.order() == Order::GoOn;
            all.iter().filter(stays).count()
        };
        for (longest, left_then) in [(&in_head, 7), (&uploads, 6), (&idle, 5)] {
            assert!(watch.make_room());
            assert_eq!((longest.pulse.order(), left()), (Order::Cut, left_then));
        }
        asks_again.pulse.progress(1);
        assert!(watch.make_room());
        assert_eq!(opening.pulse.order(), Order::Cut);
        assert!(!watch.make_room(), "{} have not kept us waiting for long", left());
        drop(served);
    }

    #[tokio::test]
    async fn a_connection_that_is_cut_off_ends_what_it_waits_for() {
        let watch = Arc::new(Watch::new(Times {
            opening: Duration::ZERO,
            head: Duration::ZERO,
            idle: Duration::ZERO,
            send: Duration::ZERO,
            stalled: Duration::ZERO,
            tunnel: Duration::ZERO,
        }));
        let under = watch.add();
        let pulse = Arc::clone(&under.pulse);
        let waits =
            tokio::spawn(async move { pulse.unless_cut(std::future::pending::<()>()).await });
        tokio::task::yield_now().await;
        watch.tick();
        watch.tick();
        assert_eq!(waits.await.unwrap(), None);
        drop(under);
        assert!(watch.lock().connections.is_empty());
    }
}
