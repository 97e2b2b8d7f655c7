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

use bytes::{Buf as _, Bytes};
use headroom_steer::Egress;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Sleep;

use crate::{
    access_log::Record,
    cache::chunk_key,
    disk::Disk,
    fill::Reader,
    limits,
    memory_file::FilePart,
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
    waiting: Option<Piece>,
    pause: Option<Pin<Box<Sleep>>>,
}

/// A piece of a body.
#[derive(Debug)]
pub(crate) enum Piece {
    Bytes(Bytes),
    /// To be sent by the system.
    File(FilePart),
}

impl Piece {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::File(part) => part.len(),
        }
    }

    /// Leaves the first `count` bytes out.
    pub(crate) fn advance(&mut self, count: usize) {
        match self {
            Self::Bytes(bytes) => bytes.advance(count),
            Self::File(part) => part.advance(count),
        }
    }

    fn split_to(&mut self, count: usize) -> Self {
        match self {
            Self::Bytes(bytes) => Self::Bytes(bytes.split_to(count)),
            Self::File(part) => Self::File(part.split_to(count)),
        }
    }

    /// Its bytes, copied from a file.
    fn into_bytes(self) -> Result<Bytes, BodyError> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            Self::File(part) => part.read().map_err(|_| BodyError::Lost),
        }
    }
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

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Piece, BodyError>>> {
        if self.reading.is_none() {
            match self.segments.pop_front() {
                None => return Poll::Ready(None),
                Some(Segment::Bytes(bytes)) => return Poll::Ready(Some(Ok(Piece::Bytes(bytes)))),
                Some(Segment::File(part)) => return Poll::Ready(Some(Ok(Piece::File(part)))),
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
        Poll::Ready(Some(chunk.map(Piece::Bytes).ok_or(BodyError::Lost)))
    }

    fn bytes(&self) -> SizeHint {
        let length = |segment: &Segment| match segment {
            Segment::Bytes(bytes) => bytes.len(),
            Segment::File(part) => part.len(),
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

impl EdgeBody {
    /// The next piece, for who can let the system send files.
    pub(crate) fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Piece, BodyError>>> {
        self.poll_part(limits::FILE_PART_BYTES, cx)
    }

    /// The next piece; of a file no more than `file_bytes`.
    fn poll_part(
        &mut self,
        file_bytes: usize,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Piece, BodyError>>> {
        match self {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Piece::Bytes(bytes)))),
            Self::Streamed(streamed) => {
                let piece = ready!(streamed.poll_piece(file_bytes, cx));
                if let Some(record) = &mut streamed.tally.record {
                    if let Some(Ok(piece)) = &piece {
                        record.sent(u64::try_from(piece.len()).unwrap_or(u64::MAX));
                    }
                    if piece.is_none() {
                        record.complete();
                    }
                }
                if streamed.is_end_stream()
                    && let Some(record) = &mut streamed.tally.record
                {
                    record.complete();
                }
                Poll::Ready(piece)
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
        let piece = ready!(self.get_mut().poll_part(limits::COPIED_FILE_BYTES, cx));
        let bytes = piece.map(|piece| piece.and_then(Piece::into_bytes));
        Poll::Ready(bytes.map(|bytes| bytes.map(Frame::data)))
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
    fn poll_piece(
        &mut self,
        file_bytes: usize,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Piece, BodyError>>> {
        loop {
            if let Some(pause) = &mut self.pause {
                ready!(pause.as_mut().poll(cx));
                self.pause = None;
            }
            let mut piece = match self.waiting.take() {
                Some(piece) => piece,
                None => match ready!(self.source.poll_piece(cx)) {
                    Some(Ok(piece)) if piece.len() == 0 => continue,
                    Some(Ok(piece)) => piece,
                    Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                    None => return Poll::Ready(None),
                },
            };
            let wanted = match &piece {
                Piece::Bytes(bytes) => bytes.len(),
                Piece::File(part) => part.len().min(file_bytes),
            };
            match self.tally.take(wanted) {
                Ok(granted) => {
                    let sent = piece.split_to(granted.min(wanted));
                    self.waiting = (piece.len() > 0).then_some(piece);
                    return Poll::Ready(Some(Ok(sent)));
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
        let waiting = self.waiting.as_ref().map_or(0, Piece::len);
        match &self.source {
            Source::Origin(body) if waiting == 0 => body.size_hint(),
            Source::Stored(stored) if waiting == 0 => stored.bytes(),
            Source::Origin(_) | Source::Fill(_) | Source::Stored(_) => SizeHint::default(),
        }
    }
}

impl Source {
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Piece, BodyError>>> {
        let as_piece = |bytes: Result<Bytes, BodyError>| bytes.map(Piece::Bytes);
        match self {
            // Trailers are not passed on.
            Self::Origin(body) => Pin::new(body).poll_frame(cx).map(|frame| {
                frame
                    .map(|frame| as_piece(frame.map(|frame| frame.into_data().unwrap_or_default())))
            }),
            Self::Fill(reader) => reader.poll_piece(cx).map(|piece| piece.map(as_piece)),
            Self::Stored(stored) => stored.poll_piece(cx),
        }
    }
}
