//! What is sent as the body of a response: from where, at what pace, and the counting of it.
//!
//! What is at hand and small goes in one piece and was paid when its head was sent. All else comes
//! in pieces; a piece for a contract is sent when the contract's egress holds it, so that no
//! response is faster than what was bought.

use std::{
    collections::VecDeque,
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use headroom_steer::Egress;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Sleep;

use crate::{
    access_log::Record,
    cache::chunk_key,
    disk::Disk,
    fill::Reader,
    limits,
    meter::Account,
    object::Segment,
    origin::{BodyError, TimedBody},
    proxy::Worker,
    table::ServedSite,
};

/// The body of a response to a visitor.
#[derive(Debug)]
pub(crate) enum EdgeBody {
    /// All of it at hand; it was counted when the head was.
    Whole(Option<Bytes>),
    /// Comes in pieces, each counted as it goes.
    Streamed(Box<Streamed>),
}

/// A body that comes in pieces.
#[derive(Debug)]
pub(crate) struct Streamed {
    source: Source,
    tally: Tally,
    /// What the source gave and may not be sent yet.
    waiting: Option<Bytes>,
    pause: Option<Pin<Box<Sleep>>>,
}

/// Where pieces come from.
#[derive(Debug)]
pub(crate) enum Source {
    /// From the origin as fast as the visitor takes it.
    Origin(TimedBody),
    /// From a fill.
    Fill(Reader),
    /// From the cache.
    Stored(StoredSource),
}

/// Reads segments of stored bodies, those on disk one after the other.
pub(crate) struct StoredSource {
    segments: VecDeque<Segment>,
    disk: Option<Arc<Disk>>,
    reading: Option<Pin<Box<dyn Future<Output = Option<Bytes>> + Send>>>,
}

impl fmt::Debug for StoredSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredSource").field("segments", &self.segments).finish_non_exhaustive()
    }
}

impl StoredSource {
    pub(crate) fn new(segments: VecDeque<Segment>, disk: Option<&Arc<Disk>>) -> Self {
        Self { segments, disk: disk.cloned(), reading: None }
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        if self.reading.is_none() {
            match self.segments.pop_front() {
                None => return Poll::Ready(None),
                Some(Segment::Bytes(bytes)) => return Poll::Ready(Some(Ok(bytes))),
                Some(Segment::Chunk { number, index, from, to }) => {
                    let disk = self.disk.clone();
                    self.reading = Some(Box::pin(async move {
                        let (disk, key) = (disk?, chunk_key(number, index));
                        let chunk = disk.get(&key).await.filter(|chunk| to <= chunk.len());
                        if chunk.is_none() {
                            // So the object is known not to be whole: the next visitor gets another.
                            disk.remove(&key);
                        }
                        chunk.map(|chunk| chunk.slice(from..to))
                    }));
                }
            }
        }
        let Some(reading) = &mut self.reading else { return Poll::Ready(None) };
        let chunk = ready!(reading.as_mut().poll(cx));
        self.reading = None;
        Poll::Ready(Some(chunk.ok_or(BodyError::Lost)))
    }

    fn bytes(&self) -> SizeHint {
        let length = |segment: &Segment| match segment {
            Segment::Bytes(bytes) => bytes.len(),
            Segment::Chunk { from, to, .. } => to - from,
        };
        match self.reading {
            Some(_) => SizeHint::default(),
            None => exactly(self.segments.iter().map(length).sum()),
        }
    }

    fn is_end(&self) -> bool {
        self.reading.is_none() && self.segments.is_empty()
    }
}

/// Who counts and pays the pieces.
#[derive(Debug)]
pub(crate) struct Tally {
    worker: Arc<Worker>,
    site: Arc<ServedSite>,
    account: Account,
    /// What may still be sent when the contract is over and none follows.
    after_contract: usize,
    /// Apart: most bodies are not logged, and a body is moved often.
    record: Option<Box<Record>>,
}

impl Tally {
    pub(crate) fn new(worker: Arc<Worker>, site: Arc<ServedSite>, account: Account) -> Self {
        let after_contract = limits::AFTER_CONTRACT_BYTES_MAX;
        Self { worker, site, account, after_contract, record: None }
    }

    /// How many of `wanted` bytes may be sent now; they are paid and counted. Or how long not.
    pub(crate) fn take(&mut self, wanted: usize) -> Result<usize, Pause> {
        let now = headroom_clock::now();
        let mut granted = u64::try_from(wanted).unwrap_or(u64::MAX);
        if let Account::Contract(contract) = self.account {
            let table = self.worker.shared.table.load();
            granted = match table.take_egress(contract, granted, now) {
                Egress::Granted(bytes) => bytes,
                Egress::Wait(pause) => return Err(Pause::For(pause)),
                Egress::Over => match table.active_contract(&self.site, now) {
                    // What comes after this contract pays for the rest.
                    Some(next) => {
                        self.account = Account::Contract(next);
                        return Err(Pause::For(Duration::ZERO));
                    }
                    // It was admitted: a slow origin must not cut off what is small.
                    None if wanted <= self.after_contract => {
                        self.after_contract -= wanted;
                        table.charge(contract, granted, now);
                        granted
                    }
                    None => return Err(Pause::ForEver),
                },
            };
        }
        let (worker, account) = (&self.worker, self.account);
        worker.counts.count(now, |counts| worker.meter(counts, account, false, granted));
        Ok(usize::try_from(granted).unwrap_or(wanted))
    }
}

/// Why nothing may be sent.
pub(crate) enum Pause {
    For(Duration),
    ForEver,
}

impl EdgeBody {
    /// No content.
    pub(crate) fn empty() -> Self {
        Self::Whole(None)
    }

    /// Content at hand.
    pub(crate) fn whole(bytes: Bytes) -> Self {
        Self::Whole((!bytes.is_empty()).then_some(bytes))
    }

    /// Content that comes, or is too much to be sent at once.
    pub(crate) fn streamed(source: Source, tally: Tally) -> Self {
        Self::Streamed(Box::new(Streamed { source, tally, waiting: None, pause: None }))
    }

    /// `record` ends with this body, of which `length` is known.
    pub(crate) fn ends(&mut self, mut record: Box<Record>, length: Option<u64>) {
        match self {
            Self::Whole(_) => record.complete(),
            Self::Streamed(streamed) => {
                record.expects(length);
                if streamed.is_end_stream() {
                    record.complete();
                }
                streamed.tally.record = Some(record);
            }
        }
    }
}

impl Body for EdgeBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Streamed(streamed) => {
                let frame = ready!(streamed.poll_frame(cx));
                if let Some(record) = &mut streamed.tally.record {
                    if let Some(Ok(frame)) = &frame
                        && let Some(data) = frame.data_ref()
                    {
                        record.sent(u64::try_from(data.len()).unwrap_or(u64::MAX));
                    }
                    if frame.is_none() {
                        record.complete();
                    }
                }
                if streamed.is_end_stream()
                    && let Some(record) = &mut streamed.tally.record
                {
                    record.complete();
                }
                Poll::Ready(frame)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_none(),
            Self::Streamed(streamed) => streamed.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(Some(bytes)) => exactly(bytes.len()),
            Self::Whole(None) => SizeHint::with_exact(0),
            Self::Streamed(streamed) => streamed.size_hint(),
        }
    }
}

fn exactly(bytes: usize) -> SizeHint {
    SizeHint::with_exact(u64::try_from(bytes).unwrap_or(u64::MAX))
}

impl Streamed {
    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        loop {
            if let Some(pause) = &mut self.pause {
                ready!(pause.as_mut().poll(cx));
                self.pause = None;
            }
            let mut piece = match self.waiting.take() {
                Some(piece) => piece,
                None => match ready!(self.source.poll_piece(cx)) {
                    Some(Ok(piece)) if piece.is_empty() => continue,
                    Some(Ok(piece)) => piece,
                    Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                    None => return Poll::Ready(None),
                },
            };
            match self.tally.take(piece.len()) {
                Ok(granted) => {
                    let sent = piece.split_to(granted.min(piece.len()));
                    self.waiting = (!piece.is_empty()).then_some(piece);
                    return Poll::Ready(Some(Ok(Frame::data(sent))));
                }
                Err(Pause::For(pause)) => {
                    self.waiting = Some(piece);
                    if !pause.is_zero() {
                        self.pause = Some(Box::pin(tokio::time::sleep(pause)));
                    }
                }
                Err(Pause::ForEver) => return Poll::Ready(Some(Err(BodyError::ContractOver))),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.waiting.is_none()
            && match &self.source {
                Source::Origin(body) => body.is_end_stream(),
                Source::Fill(_) => false,
                Source::Stored(stored) => stored.is_end(),
            }
    }

    fn size_hint(&self) -> SizeHint {
        let waiting = self.waiting.as_ref().map_or(0, Bytes::len);
        match &self.source {
            Source::Origin(body) if waiting == 0 => body.size_hint(),
            Source::Stored(stored) if waiting == 0 => stored.bytes(),
            Source::Origin(_) | Source::Fill(_) | Source::Stored(_) => SizeHint::default(),
        }
    }
}

impl Source {
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        match self {
            // Trailers are not passed on.
            Self::Origin(body) => Pin::new(body).poll_frame(cx).map(|frame| {
                frame.map(|frame| frame.map(|frame| frame.into_data().unwrap_or_default()))
            }),
            Self::Fill(reader) => reader.poll_piece(cx),
            Self::Stored(stored) => stored.poll_piece(cx),
        }
    }
}
