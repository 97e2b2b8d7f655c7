//! The phase store: a body is read from the origin once, for all who read along, and kept whole: in
//! memory if it fits there, else on disk in chunks. A body that is cut off is not kept.

use std::sync::Arc;

use bytes::Bytes;
use headroom_cache::Exchange;
use http_body::Body as _;
use http_body_util::BodyExt as _;

use crate::{
    cache::chunk_key,
    disk::Disk,
    fill::{FilledHead, Lead},
    limits,
    object::{CHUNK, Parts, StoredObject},
    origin::TimedBody,
    proxy::{Shared, Worker},
};

/// A response that is read into the cache.
pub(crate) struct Storing {
    pub(crate) head: Arc<FilledHead>,
    pub(crate) times: Exchange,
    pub(crate) stamp: u64,
}

impl Storing {
    /// Reads the body to its end and stores it: in memory if it fits there, else on disk. A body
    /// that is cut off, or longer than what is stored, is not.
    #[tracing::instrument(level = "trace", skip_all)]
    pub(crate) async fn store(
        self,
        worker: &Worker,
        lead: Lead,
        mut body: TimedBody,
        mut keep: Keep,
    ) {
        while let Some(frame) = body.frame().await {
            let data = match frame.map(|frame| frame.into_data()) {
                Ok(Ok(data)) => data,
                // Trailers are not stored.
                Ok(Err(_)) => continue,
                Err(error) => {
                    tracing::debug!(%error, "a response is not stored");
                    lead.end(Err(error));
                    return;
                }
            };
            let was_in_memory = keep.is_in_memory();
            keep = keep.add(&data, &worker.shared, lead.held_by_all());
            if was_in_memory && !keep.is_in_memory() {
                lead.pass_through();
            }
            if body.is_end_stream() {
                // Before its last piece: who has read all of it finds it stored.
                let whole = std::mem::replace(&mut keep, Keep::Nothing);
                self.finish(worker, &lead, whole);
            }
            let is_read = lead.push(data).await;
            if !is_read && matches!(keep, Keep::Nothing) {
                return;
            }
        }
        self.finish(worker, &lead, keep);
        lead.end(Ok(()));
    }

    fn finish(&self, worker: &Worker, lead: &Lead, whole: Keep) {
        let parts = Parts {
            status: self.head.status,
            headers: &self.head.headers,
            policy: self.head.policy.clone(),
            times: self.times,
            stamp: self.stamp,
        };
        let object = match whole {
            Keep::InMemory { pieces, .. } => StoredObject::new(parts, pieces),
            Keep::OnDisk(spill) => spill.finish(parts),
            Keep::Nothing => None,
        };
        if let Some(object) = object {
            lead.store(Arc::new(object), &worker.shared.cache);
        }
    }
}

/// What becomes of a body while it is read.
pub(crate) enum Keep {
    InMemory {
        pieces: Vec<Bytes>,
        length: u64,
    },
    OnDisk(Spill),
    /// It is too large, or the disk does not take it.
    Nothing,
}

/// A body that is written to disk in chunks.
pub(crate) struct Spill {
    disk: Arc<Disk>,
    number: u64,
    chunk: Vec<u8>,
    chunks: u32,
    length: u64,
}

impl Keep {
    /// What to begin with, for a body of at least `length` bytes.
    pub(crate) fn begin(shared: &Shared, length: u64) -> Self {
        if length <= shared.object_bytes_max {
            return Self::InMemory { pieces: Vec::new(), length: 0 };
        }
        match Spill::begin(shared) {
            Some(spill) if length <= shared.disk_body_max => Self::OnDisk(spill),
            _ => Self::Nothing,
        }
    }

    pub(crate) fn is_in_memory(&self) -> bool {
        matches!(self, Self::InMemory { .. })
    }

    fn add(self, data: &Bytes, shared: &Shared, held_by_all: usize) -> Self {
        let more = u64::try_from(data.len()).unwrap_or(u64::MAX);
        match self {
            Self::InMemory { mut pieces, length } => {
                pieces.push(data.clone());
                let length = length + more;
                if length <= shared.object_bytes_max && held_by_all <= limits::FILLS_HELD_MAX {
                    return Self::InMemory { pieces, length };
                }
                let spill = Spill::begin(shared);
                let spilled = spill.and_then(|spill| {
                    pieces.iter().try_fold(spill, |spill, piece| spill.add(piece, shared))
                });
                spilled.map_or(Self::Nothing, Self::OnDisk)
            }
            Self::OnDisk(spill) => spill.add(data, shared).map_or(Self::Nothing, Self::OnDisk),
            Self::Nothing => Self::Nothing,
        }
    }
}

impl Spill {
    fn begin(shared: &Shared) -> Option<Self> {
        let disk = Arc::clone(shared.cache.disk()?);
        let number = shared.cache.number();
        Some(Self { disk, number, chunk: Vec::new(), chunks: 0, length: 0 })
    }

    /// `None` if the disk does not take it.
    fn add(mut self, mut data: &[u8], shared: &Shared) -> Option<Self> {
        self.length += u64::try_from(data.len()).ok()?;
        if self.length > shared.disk_body_max {
            return None;
        }
        while !data.is_empty() {
            let (now, later) = data.split_at(data.len().min(CHUNK - self.chunk.len()));
            self.chunk.extend_from_slice(now);
            data = later;
            if self.chunk.len() == CHUNK {
                self.write()?;
            }
        }
        Some(self)
    }

    fn write(&mut self) -> Option<()> {
        let chunk = Bytes::from(std::mem::take(&mut self.chunk));
        let taken = self.disk.put(chunk_key(self.number, self.chunks), chunk);
        self.chunks = self.chunks.checked_add(1)?;
        taken.then_some(())
    }

    fn finish(mut self, parts: Parts<'_>) -> Option<StoredObject> {
        if !self.chunk.is_empty() {
            self.write()?;
        }
        StoredObject::on_disk(parts, self.number, self.length)
    }
}
