//! Watches over the connections of a thread: who is too slow, or idle for too long, is cut off.
//!
//! A connection has no timer and reads no clock. It notes what it waits for in its [`Pulse`], and
//! the thread's [`Watch`] looks at all of them a few times a second. So a request pays a few plain
//! stores, and an idle connection nothing.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use tokio_util::sync::CancellationToken;

use crate::limits::{
    DRAIN_IDLE_TICKS, H2_PING_INTERVAL, H2_PING_TIMEOUT, MAKE_ROOM_MAX, MAKES_ROOM_AFTER_TICKS,
    SLOW_BYTES_PER_TICK, TICK,
};

/// More than the question whether somebody is there takes, in bytes.
const PROBE_BYTES: u64 = 64;

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

/// A pulse as it is at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sample {
    stage: Stage,
    awaits_head: bool,
    awaits_request: bool,
    awaits_more: bool,
    stuck: bool,
    moved: u64,
    taken: u64,
    progress: u32,
    open: u32,
    draining: bool,
}

/// How long a visitor may take for what, in ticks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    opening: u32,
    head: u32,
    idle: u32,
    send: u32,
    stalled: u32,
    tunnel: u32,
    /// After which silence an HTTP/2 visitor is asked whether it is there, and how long it may
    /// take to answer.
    probe: u32,
    probe_answer: u32,
}

/// The times of [`Patience`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    /// Until the protocol is known.
    pub(crate) opening: Duration,
    /// For a head.
    pub(crate) head: Duration,
    /// Between requests.
    pub(crate) idle: Duration,
    /// While nothing is taken of what is sent.
    pub(crate) send: Duration,
    /// While no request of an HTTP/2 connection goes on. Longer than any origin may take.
    pub(crate) stalled: Duration,
    /// While nothing goes through a tunnel.
    pub(crate) tunnel: Duration,
}

impl From<Times> for Patience {
    fn from(times: Times) -> Self {
        // One more: a wait begins anywhere between two ticks.
        let ticks = |time: Duration| {
            u32::try_from(time.as_millis().div_ceil(TICK.as_millis())).unwrap_or(u32::MAX - 1) + 1
        };
        Self {
            opening: ticks(times.opening),
            head: ticks(times.head),
            idle: ticks(times.idle),
            send: ticks(times.send),
            stalled: ticks(times.stalled),
            tunnel: ticks(times.tunnel),
            probe: ticks(H2_PING_INTERVAL),
            probe_answer: ticks(H2_PING_TIMEOUT),
        }
    }
}

/// What is remembered of a connection from tick to tick: the last sample, and for how many ticks
/// it has been waiting for the same.
#[derive(Debug, Default)]
struct History {
    last: Option<Sample>,
    opening: u32,
    head: u32,
    idle: u32,
    stuck: u32,
    still: u32,
    silent: u32,
    /// While content comes or goes, but hardly.
    slow: u32,
    /// What the visitor had taken when it was asked whether it is there.
    taken_when_asked: u64,
}

impl History {
    /// What the connection is to do after one more tick.
    fn judge(&mut self, now: Sample, patience: &Patience) -> Order {
        let same = |of: fn(&Sample) -> u64| {
            self.last.is_some_and(|last| last.stage == now.stage && of(&last) == of(&now))
        };
        let unmoved = same(|sample| sample.moved);
        let untaken = same(|sample| sample.taken);
        let no_progress = same(|sample| sample.progress.into());
        let busy = now.open > 0;
        let step = |count: &mut u32, on: bool| {
            *count = if on { *count + 1 } else { 0 };
            *count
        };
        let opening = step(&mut self.opening, now.stage == Stage::Opening);
        // The whole head within its time, however its bytes are spread.
        let in_head = now.awaits_head && !busy && no_progress;
        let head = step(&mut self.head, now.stage == Stage::Http1 && in_head);
        let waits = now.awaits_request && !busy && !now.stuck && no_progress;
        let idle = step(&mut self.idle, now.stage == Stage::Http1 && waits);
        let stuck = step(&mut self.stuck, now.stuck && untaken);
        let still = match now.stage {
            Stage::Http2 => no_progress,
            Stage::Tunnel => unmoved,
            Stage::Opening | Stage::Http1 => false,
        };
        let still = step(&mut self.still, still);
        let before = self.last.map_or(0, |last| last.moved);
        let hardly = now.moved.wrapping_sub(before) < SLOW_BYTES_PER_TICK;
        step(&mut self.slow, hardly && (now.awaits_more || now.stuck));
        let nothing_came = same(|sample| sample.moved.wrapping_sub(sample.taken));
        let silent = step(&mut self.silent, now.stage == Stage::Http2 && nothing_came);
        let is_dead = self.is_dead(silent, now.taken, patience);
        self.last = Some(now);
        let idle_max = if now.draining { DRAIN_IDLE_TICKS } else { patience.idle };
        let opening_max = if now.draining { 2 * DRAIN_IDLE_TICKS } else { patience.opening };
        let cut = opening >= opening_max
            || head >= patience.head
            || stuck >= patience.send
            || idle >= idle_max && now.draining
            || match now.stage {
                Stage::Http2 if is_dead => true,
                Stage::Http2 if busy => still >= patience.stalled,
                Stage::Http2 => now.draining && still >= DRAIN_IDLE_TICKS + patience.send,
                Stage::Tunnel => still >= patience.tunnel,
                Stage::Opening | Stage::Http1 => false,
            };
        let ends = idle >= idle_max || now.stage == Stage::Http2 && !busy && still >= idle_max;
        match (cut, ends) {
            (true, _) => Order::Cut,
            (_, true) => Order::Drain,
            _ => Order::GoOn,
        }
    }

    /// Whether a visitor that said nothing for so many ticks did not answer when it was asked. One
    /// that takes what is sent may not have got the question yet.
    fn is_dead(&mut self, silent: u32, taken: u64, patience: &Patience) -> bool {
        if silent == patience.probe {
            self.taken_when_asked = taken;
        }
        let is_late = silent >= patience.probe + patience.probe_answer;
        let takes = taken.wrapping_sub(self.taken_when_asked) > PROBE_BYTES;
        if is_late && takes {
            self.silent = 0;
        }
        is_late && !takes
    }

    /// For how many ticks the connection has been waiting for its visitor, if it still is.
    fn kept_waiting(&self, now: Sample) -> u32 {
        let goes_on =
            self.last.is_none_or(|last| (last.progress, last.open) != (now.progress, now.open));
        let idle = if now.stage == Stage::Http2 && now.open == 0 { self.still } else { self.idle };
        match now.stage {
            // It may be quiet by its nature.
            Stage::Tunnel => 0,
            _ if goes_on => 0,
            _ => self.opening.max(self.head).max(idle).max(self.stuck).max(self.slow),
        }
    }

    /// Whether the visitor is to be asked after this tick whether it is there.
    fn probes(&self, patience: &Patience) -> bool {
        self.silent == patience.probe
    }
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
    use super::*;

    const BETWEEN: Sample = Sample {
        stage: Stage::Http1,
        awaits_head: false,
        awaits_request: true,
        awaits_more: false,
        stuck: false,
        moved: 0,
        taken: 0,
        progress: 0,
        open: 0,
        draining: false,
    };
    const IN_HEAD: Sample = Sample { awaits_head: true, awaits_request: false, ..BETWEEN };

    fn patience() -> Patience {
        let (opening, head, idle, send, stalled, tunnel) = (5, 10, 20, 15, 50, 60);
        Patience { opening, head, idle, send, stalled, tunnel, probe: 200, probe_answer: 20 }
    }

    /// After how many ticks which order comes, if `sample` gives the pulse at each.
    fn told(sample: impl Fn(u32) -> Sample) -> Option<(u32, Order)> {
        let mut history = History::default();
        (1..100).find_map(|tick| match history.judge(sample(tick), &patience()) {
            Order::GoOn => None,
            order => Some((tick, order)),
        })
    }

    #[test]
    fn who_never_says_what_it_wants_is_cut_off() {
        let opening = |tick: u32| Sample { stage: Stage::Opening, moved: tick.into(), ..BETWEEN };
        assert_eq!(told(opening), Some((5, Order::Cut)));
    }

    #[test]
    fn a_head_has_to_come_in_its_time_however_its_bytes_are_spread() {
        let slow = |tick: u32| Sample { moved: tick.into(), ..IN_HEAD };
        assert_eq!(told(slow), Some((11, Order::Cut)));
        assert_eq!(told(|tick| Sample { progress: tick / 5, ..IN_HEAD }), None, "one by one");
        assert_eq!(told(|_| Sample { open: 1, ..IN_HEAD }), None, "it is not its turn");
    }

    #[test]
    fn idle_connections_end() {
        assert_eq!(told(|_| BETWEEN), Some((21, Order::Drain)));
        assert_eq!(told(|_| Sample { open: 1, ..BETWEEN }), None, "the origin takes its time");
        let h2 = Sample { stage: Stage::Http2, awaits_request: false, ..BETWEEN };
        assert_eq!(told(|tick: u32| Sample { moved: tick.into(), ..h2 }), Some((21, Order::Drain)));
        assert_eq!(told(|_| Sample { open: 1, ..h2 }), Some((51, Order::Cut)));
        assert_eq!(told(|tick| Sample { open: 1, progress: tick, ..h2 }), None);
        let tunnel = Sample { stage: Stage::Tunnel, ..BETWEEN };
        assert_eq!(told(|_| tunnel), Some((61, Order::Cut)));
        assert_eq!(told(|tick: u32| Sample { moved: tick.into(), ..tunnel }), None);
    }

    #[test]
    fn who_takes_nothing_is_cut_off() {
        let stuck = Sample { stuck: true, open: 1, ..BETWEEN };
        assert_eq!(told(|_| stuck), Some((16, Order::Cut)));
        assert_eq!(told(|tick: u32| Sample { taken: tick.into(), ..stuck }), None);
    }

    #[test]
    fn who_says_nothing_is_asked_whether_it_is_there() {
        let patience = Patience { probe: 10, probe_answer: 5, ..patience() };
        let asked = |came: fn(u32) -> u64| {
            let mut history = History::default();
            (1..40).find_map(|tick| {
                // What we send is no sign of the visitor.
                let (taken, progress) = (tick.into(), tick);
                let moved = taken + came(tick);
                let stage = Stage::Http2;
                let sample = Sample { stage, open: 1, moved, taken, progress, ..BETWEEN };
                let order = history.judge(sample, &patience);
                (history.probes(&patience) || order != Order::GoOn).then_some((tick, order))
            })
        };
        assert_eq!(asked(|_| 0), Some((11, Order::GoOn)));
        assert_eq!(asked(|tick| (tick / 8).into()), None);
        let mut history = History::default();
        let silent = Sample { stage: Stage::Http2, open: 1, ..BETWEEN };
        let cut = (1..40).find(|_| history.judge(silent, &patience) == Order::Cut);
        assert_eq!(cut, Some(16), "nor did it answer");
        let mut history = History::default();
        let takes = |tick: u32| {
            let taken = u64::from(tick) * 1_000;
            Sample { moved: taken, taken, progress: tick, ..silent }
        };
        let on = (1..80).all(|tick| history.judge(takes(tick), &patience) == Order::GoOn);
        assert!(on, "it takes what is sent, and may not have come to the question");
    }

    #[test]
    fn draining_does_not_wait_for_who_asks_nothing() {
        let idle = Sample { draining: true, ..BETWEEN };
        assert_eq!(told(|_| idle), Some((DRAIN_IDLE_TICKS + 1, Order::Cut)));
        assert_eq!(told(|_| Sample { open: 1, ..idle }), None);
        let opening = Sample { stage: Stage::Opening, ..idle };
        assert_eq!(told(|_| opening), Some((2 * DRAIN_IDLE_TICKS, Order::Cut)));
    }

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

    #[test]
    fn content_that_hardly_comes_keeps_us_waiting() {
        let waited = |bytes: u64| {
            let mut history = History::default();
            let sample = |tick: u64| Sample {
                awaits_request: false,
                awaits_more: true,
                moved: tick * bytes,
                ..BETWEEN
            };
            for tick in 1..10 {
                history.judge(sample(tick), &patience());
            }
            history.kept_waiting(sample(10))
        };
        assert_eq!((waited(SLOW_BYTES_PER_TICK - 1), waited(SLOW_BYTES_PER_TICK)), (9, 0));
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
