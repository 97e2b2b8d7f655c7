//! The operator's prefix map: read before the first answer, and again whenever its file is another.
//!
//! A file that changes is read when it was seen twice as it is, so that nothing half written is
//! taken in. What cannot be used is refused as a whole and told, and the map before it stays.

use std::sync::Arc;

use headroom_prefixmap::{Loaded, PrefixFile, PrefixFileError};
use tokio_util::sync::CancellationToken;

use crate::{limits, metrics::PrefixMapOutcome, server::Shared, stamp::Stamp};

/// Keeps the prefix map as its file says.
#[derive(Debug)]
pub(crate) struct Prefixes {
    file: PrefixFile,
    shared: Arc<Shared>,
    /// The file that was read last, used or not.
    read: Stamp,
    /// The file as it was seen last.
    seen: Stamp,
}

impl Prefixes {
    /// Reads the file and puts its map in force.
    ///
    /// # Errors
    /// If it cannot be used: without regions, clients would all be sent to one.
    pub(crate) async fn load(
        file: PrefixFile,
        shared: Arc<Shared>,
    ) -> Result<Self, PrefixFileError> {
        let read = Stamp::of(&file.path);
        let prefixes = Self { file, shared, read, seen: read };
        let (prefixes, loaded) = prefixes.read().await;
        prefixes.put(loaded?);
        Ok(prefixes)
    }

    /// Looks at the file again and again until told to stop.
    pub(crate) async fn keep(mut self, stop: CancellationToken) {
        while stop.run_until_cancelled(tokio::time::sleep(limits::PREFIX_MAP_REST)).await.is_some()
        {
            if !self.has_changed() {
                continue;
            }
            let (prefixes, loaded) = self.read().await;
            self = prefixes;
            match loaded {
                Ok(loaded) => self.put(loaded),
                Err(error) => {
                    self.shared.metrics.count_prefix_map(PrefixMapOutcome::Refused);
                    tracing::error!(%error, "a prefix map is refused, the one before stays");
                }
            }
        }
    }

    /// Whether there is another file than was read last, which is not being written any more.
    fn has_changed(&mut self) -> bool {
        let now = Stamp::of(&self.file.path);
        let stands_still = now == self.seen;
        self.seen = now;
        let has_changed = stands_still && now != self.read;
        if has_changed {
            self.read = now;
        }
        has_changed
    }

    /// A million prefixes take their time.
    async fn read(self) -> (Self, Result<Loaded, PrefixFileError>) {
        let reading = tokio::task::spawn_blocking(move || {
            let loaded = self.file.load();
            (self, loaded)
        });
        match reading.await {
            Ok(done) => done,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    fn put(&self, loaded: Loaded) {
        let Loaded { map, prefixes, digest, notes } = loaded;
        self.shared.responder().supply_prefixes(Arc::new(map));
        self.shared.metrics.count_prefix_map(PrefixMapOutcome::Loaded);
        self.shared.metrics.show_prefix_map(prefixes, digest.number());
        let path = self.file.path.display();
        tracing::info!(%path, prefixes, %digest, "a prefix map is in force");
        notes.iter().for_each(|note| tracing::warn!(%path, %note, "of the prefix map"));
    }
}
