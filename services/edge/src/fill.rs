//! One fetch for many: who misses the same key at the same time reads along with the first.
//!
//! The first leads: it fetches, and stores. The others follow: they get the head when it is there,
//! if it may be shared and answers them too, and then the body as it comes. A response that is to
//! be stored is kept from its beginning, so that one can still join; of a larger one only a window
//! is kept, at the pace of its slowest reader, and who stands still too long is cut off.
//!
//! Only leaders store. A request that changes the resource makes a fill that runs outdated, so that
//! what was fetched before the change is not stored after it. A leader that ends in any way lets its
//! followers go, so nobody waits for nothing.

use std::{
    collections::{HashMap, VecDeque},
    future::poll_fn,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use headroom_cache::{CacheKey, StoredPolicy};
use headroom_units::Timestamp;
use http::{HeaderMap, StatusCode};
use quick_cache::DefaultHashBuilder;
use smallvec::SmallVec;
use tokio::time::timeout;

use crate::{
    cache::Cache,
    limits,
    object::StoredObject,
    origin::{BodyError, FetchError},
};

/// The fills that run, by key.
#[derive(Debug, Default)]
pub(crate) struct Fills {
    running: Mutex<Running>,
    /// The bytes that all fills hold.
    held: AtomicUsize,
}

type Running = HashMap<CacheKey, Arc<Fill>, DefaultHashBuilder>;

/// What a request that misses does.
#[derive(Debug)]
pub(crate) enum Joined {
    /// It fetches, and reads what it fetches.
    Lead(Lead, Reader),
    /// It reads along.
    Follow(Reader),
    /// It goes on its own: too many fills run, or the beginning is gone.
    Alone,
}

/// What a fill found.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// A response that may be shared; its body is read from the fill.
    Response(Arc<FilledHead>),
    /// A response that may be shared, and is stored already: it was small and came at once.
    Stored(Arc<StoredObject>),
    /// What was stored is valid again.
    Renewed(Arc<StoredObject>),
    /// The origin answers with errors, and what is stored may stand in.
    Stale(Arc<StoredObject>),
    /// A response that may not be shared: each asks for itself.
    Unshared,
    /// There is none.
    Failed(FetchError),
}

/// The head of a response that may be shared.
#[derive(Debug)]
pub(crate) struct FilledHead {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) policy: StoredPolicy,
    /// True if it is being stored.
    pub(crate) stored: bool,
}

/// Keys whose responses were lately not to be shared, and were waited for: who asks for them now
/// does not wait for another.
#[derive(Debug)]
pub(crate) struct Unshared {
    until: quick_cache::sync::Cache<CacheKey, Timestamp>,
}

impl Unshared {
    pub(crate) fn new() -> Self {
        Self { until: quick_cache::sync::Cache::new(limits::UNSHARED_MAX) }
    }

    pub(crate) fn remember(&self, key: &CacheKey, now: Timestamp) {
        self.until.insert(key.clone(), now.after(limits::UNSHARED_KEPT));
    }

    pub(crate) fn holds(&self, key: &CacheKey, now: Timestamp) -> bool {
        self.until.get(key).is_some_and(|until| now < until)
    }
}

/// One fill that runs.
#[derive(Debug)]
struct Fill {
    fills: Arc<Fills>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    answer: Option<Answer>,
    pieces: VecDeque<Bytes>,
    /// How many pieces were let go, and how many bytes are held.
    gone: u64,
    held: usize,
    /// True while all pieces are kept, because they are to be stored.
    keep: bool,
    end: Option<Result<(), BodyError>>,
    readers: SmallVec<[Option<Place>; 1]>,
    leader: Option<Waker>,
}

/// How far a reader is.
#[derive(Debug, Default)]
struct Place {
    next: u64,
    waker: Option<Waker>,
    cut_off: bool,
}

/// The right to fill one key, and the duty to tell the followers.
#[derive(Debug)]
pub(crate) struct Lead {
    key: CacheKey,
    fill: Arc<Fill>,
}

/// A place at a fill: reads its answer and its body.
#[derive(Debug)]
pub(crate) struct Reader {
    fill: Arc<Fill>,
    place: usize,
}

impl Fills {
    /// Leads the fill of `key`, or follows the one that runs.
    pub(crate) fn join(self: &Arc<Self>, key: &CacheKey) -> Joined {
        let mut running = self.lock();
        if let Some(fill) = running.get(key) {
            return Fill::reader(fill).map_or(Joined::Alone, Joined::Follow);
        }
        if running.len() >= limits::FILLS_MAX {
            return Joined::Alone;
        }
        let fill = Arc::new(Fill { fills: Arc::clone(self), state: Mutex::new(State::new()) });
        let Some(reader) = Fill::reader(&fill) else { return Joined::Alone };
        running.insert(key.clone(), Arc::clone(&fill));
        Joined::Lead(Lead { key: key.clone(), fill }, reader)
    }

    /// Leads the fill of `key` if none runs.
    pub(crate) fn lead(self: &Arc<Self>, key: &CacheKey) -> Option<Lead> {
        if self.lock().contains_key(key) {
            return None;
        }
        match self.join(key) {
            Joined::Lead(lead, _) => Some(lead),
            Joined::Follow(_) | Joined::Alone => None,
        }
    }

    /// Removes what is stored under `key`, and keeps a fill that runs from storing.
    pub(crate) fn invalidate(&self, key: &CacheKey, cache: &Cache) {
        // Under the lock, so that no leader stores between the two.
        let mut running = self.lock();
        running.remove(key);
        cache.remove(key);
    }

    fn lock(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Fill {
    /// A place at the beginning of `fill`, if the beginning is still there.
    fn reader(fill: &Arc<Self>) -> Option<Reader> {
        let mut state = fill.lock();
        if state.gone > 0 {
            return None;
        }
        let place = state.readers.iter().position(Option::is_none).unwrap_or(state.readers.len());
        match state.readers.get_mut(place) {
            Some(free) => *free = Some(Place::default()),
            None => state.readers.push(Some(Place::default())),
        }
        drop(state);
        Some(Reader { fill: Arc::clone(fill), place })
    }

    fn let_go(&self, bytes: usize) {
        self.fills.held.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn new() -> Self {
        Self {
            answer: None,
            pieces: VecDeque::new(),
            gone: 0,
            held: 0,
            keep: true,
            end: None,
            readers: SmallVec::new(),
            leader: None,
        }
    }

    fn wake_readers(&mut self) {
        self.readers
            .iter_mut()
            .flatten()
            .filter_map(|place| place.waker.take())
            .for_each(Waker::wake);
    }

    /// Lets go of what every reader has read, if it is not kept. Yields how many bytes.
    fn trim(&mut self) -> usize {
        if self.keep {
            return 0;
        }
        let before = self.held;
        let produced = self.gone + u64::try_from(self.pieces.len()).unwrap_or(u64::MAX);
        let places = self.readers.iter().flatten().filter(|place| !place.cut_off);
        let slowest = places.map(|place| place.next).min().unwrap_or(produced);
        while self.gone < slowest
            && let Some(piece) = self.pieces.pop_front()
        {
            self.gone += 1;
            self.held -= piece.len();
        }
        before - self.held
    }

    fn has_readers(&self) -> bool {
        self.readers.iter().flatten().any(|place| !place.cut_off)
    }

    /// Cuts off those who have not read what is oldest.
    fn cut_off_the_slowest(&mut self) {
        let gone = self.gone;
        for place in self.readers.iter_mut().flatten().filter(|place| place.next <= gone) {
            place.cut_off = true;
        }
        self.wake_readers();
    }
}

impl Lead {
    /// The key it fills.
    pub(crate) fn key(&self) -> &CacheKey {
        &self.key
    }

    /// True if another than the visitor who leads waits for what is found.
    pub(crate) fn is_followed(&self) -> bool {
        self.fill.lock().readers.iter().flatten().count() > 1
    }

    /// Tells what was found.
    pub(crate) fn answer(&self, answer: Answer) {
        let mut state = self.fill.lock();
        state.answer = Some(answer);
        state.wake_readers();
    }

    /// From now on only a window is kept: it will not be stored in memory.
    pub(crate) fn pass_through(&self) {
        let mut state = self.fill.lock();
        state.keep = false;
        let freed = state.trim();
        drop(state);
        self.fill.let_go(freed);
    }

    /// The bytes that all fills hold.
    pub(crate) fn held_by_all(&self) -> usize {
        self.fill.fills.held.load(Ordering::Relaxed)
    }

    /// Hands a piece to the readers; waits while the window is full. False if nobody is left who
    /// reads it and it is not kept.
    pub(crate) async fn push(&self, piece: Bytes) -> bool {
        if self.add(piece) {
            self.room().await;
        }
        let state = self.fill.lock();
        state.keep || state.has_readers()
    }

    /// True if the window is full then.
    fn add(&self, piece: Bytes) -> bool {
        self.fill.fills.held.fetch_add(piece.len(), Ordering::Relaxed);
        let mut state = self.fill.lock();
        state.held += piece.len();
        state.pieces.push_back(piece);
        state.wake_readers();
        let freed = state.trim();
        let full = state.is_full();
        drop(state);
        self.fill.let_go(freed);
        full
    }

    /// Waits until the window has room again.
    async fn room(&self) {
        let room = || {
            poll_fn(|cx| {
                let mut state = self.fill.lock();
                if !state.is_full() || !state.has_readers() {
                    return Poll::Ready(());
                }
                state.leader = Some(cx.waker().clone());
                Poll::Pending
            })
        };
        if timeout(limits::READER_STALL_MAX, room()).await.is_err() {
            let mut state = self.fill.lock();
            state.cut_off_the_slowest();
            let freed = state.trim();
            drop(state);
            self.fill.let_go(freed);
        }
    }

    /// Stores `object`, unless the key was invalidated meanwhile.
    pub(crate) fn store(&self, object: Arc<StoredObject>, cache: &Cache) {
        let running = self.fill.fills.lock();
        if self.is_running(&running) {
            cache.insert(self.key.clone(), object);
        }
        drop(running);
    }

    /// The body is whole, or will never be.
    pub(crate) fn end(self, end: Result<(), BodyError>) {
        self.fill.lock().end = Some(end);
    }

    fn is_running(&self, running: &Running) -> bool {
        running.get(&self.key).is_some_and(|fill| Arc::ptr_eq(fill, &self.fill))
    }
}

impl State {
    fn is_full(&self) -> bool {
        !self.keep && self.held >= limits::FILL_WINDOW
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        let mut running = self.fill.fills.lock();
        if self.is_running(&running) {
            running.remove(&self.key);
        }
        drop(running);
        let mut state = self.fill.lock();
        state.answer.get_or_insert(Answer::Unshared);
        state.end.get_or_insert(Err(BodyError::Lost));
        state.wake_readers();
    }
}

impl Reader {
    /// What the fill found.
    pub(crate) async fn answer(&self) -> Answer {
        poll_fn(|cx| self.poll_answer(cx)).await
    }

    /// The same, when it is there.
    pub(crate) fn poll_answer(&self, cx: &Context<'_>) -> Poll<Answer> {
        let mut state = self.fill.lock();
        match state.answer.clone() {
            Some(answer) => Poll::Ready(answer),
            None => {
                self.wait(&mut state, cx);
                Poll::Pending
            }
        }
    }

    /// True if the body is known to end before its end.
    pub(crate) fn is_cut_off(&self) -> bool {
        matches!(self.fill.lock().end, Some(Err(_)))
    }

    /// The next piece of the body; none at its end.
    pub(crate) fn poll_piece(
        &self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, BodyError>>> {
        let mut state = self.fill.lock();
        let Some(Some(place)) = state.readers.get(self.place) else { return Poll::Ready(None) };
        if place.cut_off {
            return Poll::Ready(Some(Err(BodyError::TooSlow)));
        }
        let index = usize::try_from(place.next - state.gone).unwrap_or(usize::MAX);
        if let Some(piece) = state.pieces.get(index).cloned() {
            if let Some(Some(place)) = state.readers.get_mut(self.place) {
                place.next += 1;
            }
            let freed = state.trim();
            let leader = if state.is_full() { None } else { state.leader.take() };
            drop(state);
            self.fill.let_go(freed);
            leader.into_iter().for_each(Waker::wake);
            return Poll::Ready(Some(Ok(piece)));
        }
        match state.end.clone() {
            Some(Ok(())) => Poll::Ready(None),
            Some(Err(error)) => Poll::Ready(Some(Err(error))),
            None => {
                self.wait(&mut state, cx);
                Poll::Pending
            }
        }
    }

    fn wait(&self, state: &mut State, cx: &Context<'_>) {
        if let Some(Some(place)) = state.readers.get_mut(self.place) {
            place.waker = Some(cx.waker().clone());
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut state = self.fill.lock();
        if let Some(place) = state.readers.get_mut(self.place) {
            *place = None;
        }
        let freed = state.trim();
        let leader = state.leader.take();
        drop(state);
        self.fill.let_go(freed);
        leader.into_iter().for_each(Waker::wake);
    }
}

impl Drop for Fill {
    fn drop(&mut self) {
        let held = self.lock().held;
        self.let_go(held);
    }
}

#[cfg(test)]
mod tests {
    use headroom_cache::{QueryRule, Scheme};
    use http::Uri;

    use super::*;

    fn key(index: usize) -> CacheKey {
        let uri: Uri = format!("/{index}").parse().unwrap();
        let host = "www.shop.example".parse().unwrap();
        CacheKey::of(&"shop".parse().unwrap(), Scheme::Http, &host, &uri, &QueryRule::Keep)
    }

    fn lead(fills: &Arc<Fills>) -> (Lead, Reader) {
        match fills.join(&key(0)) {
            Joined::Lead(lead, reader) => (lead, reader),
            Joined::Follow(_) | Joined::Alone => panic!("a fill is running"),
        }
    }

    fn follow(fills: &Arc<Fills>) -> Reader {
        match fills.join(&key(0)) {
            Joined::Follow(reader) => reader,
            Joined::Lead(..) | Joined::Alone => panic!("no fill is running"),
        }
    }

    async fn read(reader: &Reader) -> (String, bool) {
        let mut text = String::new();
        loop {
            match poll_fn(|cx| reader.poll_piece(cx)).await {
                Some(Ok(piece)) => text.push_str(std::str::from_utf8(&piece).unwrap()),
                Some(Err(_)) => return (text, false),
                None => return (text, true),
            }
        }
    }

    #[tokio::test]
    async fn who_joins_late_reads_from_the_beginning() {
        let fills = Arc::<Fills>::default();
        let (lead, first) = lead(&fills);
        assert!(lead.push(Bytes::from_static(b"hel")).await);
        let second = follow(&fills);
        assert!(lead.push(Bytes::from_static(b"lo")).await);
        assert_eq!(lead.held_by_all(), 5);
        lead.end(Ok(()));
        assert_eq!(read(&first).await, ("hello".to_owned(), true));
        assert_eq!(read(&second).await, ("hello".to_owned(), true));
        drop((first, second));
        assert_eq!(fills.held.load(Ordering::Relaxed), 0);
        assert!(fills.lock().is_empty());
    }

    #[tokio::test]
    async fn a_leader_that_gives_up_lets_its_followers_go() {
        let fills = Arc::<Fills>::default();
        let (leader, _) = lead(&fills);
        let follower = follow(&fills);
        leader.push(Bytes::from_static(b"hel")).await;
        drop(leader);
        assert!(matches!(follower.answer().await, Answer::Unshared));
        assert!(follower.is_cut_off());
        assert_eq!(read(&follower).await, ("hel".to_owned(), false));
    }

    #[tokio::test(start_paused = true)]
    async fn of_what_is_not_kept_a_window_is_held_and_who_stands_still_is_cut_off() {
        let fills = Arc::<Fills>::default();
        let (lead, reader) = lead(&fills);
        let slow = follow(&fills);
        lead.pass_through();
        let piece = || Bytes::from(vec![b'x'; limits::FILL_WINDOW / 2]);
        assert!(lead.push(piece()).await);
        assert!(matches!(poll_fn(|cx| reader.poll_piece(cx)).await, Some(Ok(_))));
        // The slow one holds the window full until its time is over.
        assert!(lead.push(piece()).await);
        assert!(matches!(poll_fn(|cx| slow.poll_piece(cx)).await, Some(Err(BodyError::TooSlow))));
        assert!(lead.held_by_all() <= limits::FILL_WINDOW);
        assert!(matches!(fills.join(&key(0)), Joined::Alone), "the beginning is gone");
        drop((reader, slow));
        assert!(!lead.push(piece()).await, "nobody is left");
    }

    #[test]
    fn fills_are_limited() {
        let fills = Arc::<Fills>::default();
        let mut leads: Vec<Joined> =
            (1..=limits::FILLS_MAX).map(|index| fills.join(&key(index))).collect();
        assert!(matches!(fills.join(&key(0)), Joined::Alone));
        assert!(matches!(fills.join(&key(1)), Joined::Follow(_)));
        leads.pop();
        assert!(matches!(fills.join(&key(0)), Joined::Lead(..)));
    }
}
