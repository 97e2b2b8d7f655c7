//! Hot restart: the sockets go from the process that serves to the one that replaces it.
//!
//! ```text
//!  new: all is loaded                         old: serves, listens on the hand-over socket
//!    │ ── hello, version, who ────────────────► │ same user? same version? the same that serves?
//!    │ ◄─────────────── sockets (SCM_RIGHTS) ── │    no: why not
//!    │ serves                                    │ serves
//!    │ ── confirmed ──────────────────────────► │
//!    │ ◄──────────────────────────── draining ── │
//!    │ listens on the hand-over socket           │ takes nothing new, drains, ends
//! ```
//!
//! Both hold the same sockets, so that nothing is in a queue that nobody reads. If the new one
//! dies before it confirms, the old one goes on as if nothing had been. What the sockets are for,
//! and what becomes of what is under way, is not known here.
//!
//! A process that ends leaves the file of its hand-over socket: behind it nobody answers, and the
//! next one puts its own in its place. To remove it would race with that.

mod converse;
pub mod limits;
#[cfg(test)]
mod tests;

use std::{
    fs,
    io::{self, ErrorKind, Write as _},
    os::{
        fd::OwnedFd,
        unix::{
            fs::{FileTypeExt as _, PermissionsExt as _},
            net::{UnixListener, UnixStream},
        },
    },
    path::{Path, PathBuf},
    sync::Arc,
};

use converse::{converse, expect, hello, receive};
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

/// Stands where the number of sockets does; why they do not come follows.
pub(crate) const REFUSED: u8 = u8::MAX;
const CONFIRMED: &[u8] = b"confirmed\n";
const DRAINING: &[u8] = b"draining\n";

/// Why sockets cannot be taken over.
#[derive(Debug, thiserror::Error)]
pub enum HandoverError {
    /// The hand-over socket cannot be used.
    #[error("the hand-over socket {} cannot be used: {source}", path.display())]
    Socket {
        /// Where it is.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The process that serves does not hand over.
    #[error("the process behind the hand-over socket {} refuses: {reason}", path.display())]
    Refused {
        /// Where the socket is.
        path: PathBuf,
        /// Why, in its words.
        reason: String,
    },
    /// The sockets did not come whole.
    #[error("nothing came over the hand-over socket {}: {source}", path.display())]
    Incomplete {
        /// Where the socket is.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another process serves, and is not to be replaced.
    #[error(
        "another process serves {who}, it listens on {}; take over from it, or stop it",
        path.display()
    )]
    Served {
        /// Who would serve twice.
        who: String,
        /// Where the hand-over socket is.
        path: PathBuf,
    },
}

/// Sockets of another process, which goes on with them until [`Taken::confirm`].
#[derive(Debug)]
pub struct Taken {
    /// The sockets, in the order in which they were offered.
    pub sockets: Vec<OwnedFd>,
    path: PathBuf,
    who: String,
    old: UnixStream,
}

impl Taken {
    /// Asks the process behind the socket at `path` for the sockets of `who`. `None` if there is no
    /// such process. Blocks for up to [`limits::HANDOVER_TIME_MAX`].
    ///
    /// # Errors
    /// If there is one, and it hands nothing over.
    pub fn ask(path: &Path, who: &str) -> Result<Option<Self>, HandoverError> {
        let socket = |source| HandoverError::Socket { path: path.to_owned(), source };
        let Some(mut old) = connect(path).map_err(socket)? else { return Ok(None) };
        let asked = old.write_all(hello(who).as_bytes()).and_then(|()| receive(&mut old));
        let incomplete = |source| HandoverError::Incomplete { path: path.to_owned(), source };
        match asked.map_err(incomplete)? {
            Ok(sockets) => {
                Ok(Some(Self { sockets, path: path.to_owned(), who: who.to_owned(), old }))
            }
            Err(reason) => Err(HandoverError::Refused { path: path.to_owned(), reason }),
        }
    }

    /// Tells the old process that this one serves. If that took too long for it, it goes on: then
    /// it is asked once more, so that no two processes serve side by side. Blocks for up to twice
    /// [`limits::HANDOVER_TIME_MAX`].
    pub fn confirm(mut self) {
        let Err(late) = self.say_confirmed() else { return };
        tracing::warn!(error = %late, "the process before this one did not wait");
        match Self::ask(&self.path, &self.who) {
            Ok(None) => {}
            Ok(Some(mut again)) => {
                if let Err(error) = again.say_confirmed() {
                    tracing::error!(%error, "the process before this one may go on; stop it");
                }
            }
            Err(error) => tracing::error!(%error, "the process before this one may go on; stop it"),
        }
    }

    fn say_confirmed(&mut self) -> io::Result<()> {
        self.old.write_all(CONFIRMED)?;
        expect(&mut self.old, DRAINING)
    }
}

/// Refuses to start beside a process that serves the same: both would answer, from different
/// states.
///
/// # Errors
/// If there is one. That it cannot be known is logged alone.
pub fn refuse_second(path: &Path, who: &str) -> Result<(), HandoverError> {
    match connect(path) {
        Ok(Some(_)) => Err(HandoverError::Served { who: who.to_owned(), path: path.to_owned() }),
        Ok(None) => Ok(()),
        Err(error) => {
            let path = path.display();
            tracing::warn!(%path, %error, who, "whether another process serves is not known");
            Ok(())
        }
    }
}

/// A connection to the process behind `path`, if there is one.
fn connect(path: &Path) -> io::Result<Option<UnixStream>> {
    match UnixStream::connect(path) {
        Ok(stream) => patient(stream).map(Some),
        Err(error)
            if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn patient(stream: UnixStream) -> io::Result<UnixStream> {
    stream.set_read_timeout(Some(limits::HANDOVER_TIME_MAX))?;
    stream.set_write_timeout(Some(limits::HANDOVER_TIME_MAX))?;
    Ok(stream)
}

/// The hand-over socket of a process that serves.
#[derive(Debug)]
pub struct Offer {
    listener: UnixListener,
}

impl Offer {
    /// Listens at `path`, in place of the socket that is there. Nobody but this user gets in.
    ///
    /// # Errors
    /// If it cannot be listened on, or something stands at `path` that is no socket.
    pub fn bind(path: &Path) -> io::Result<Self> {
        if fs::symlink_metadata(path).is_ok_and(|there| !there.file_type().is_socket()) {
            return Err(io::Error::new(ErrorKind::AlreadyExists, "what is there is no socket"));
        }
        let beside = path.with_extension("new");
        match fs::remove_file(&beside) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&beside)?;
        fs::set_permissions(&beside, fs::Permissions::from_mode(0o600))?;
        listener.set_nonblocking(true)?;
        fs::rename(&beside, path)?;
        Ok(Self { listener })
    }

    /// Hands the sockets of `who` to whoever asks, until one confirms (true) or `stop` (false). They
    /// are closed then, here.
    pub async fn hand_over(
        self,
        who: &str,
        sockets: Vec<OwnedFd>,
        stop: &CancellationToken,
    ) -> bool {
        let Ok(listener) = tokio::net::UnixListener::from_std(self.listener) else { return false };
        let sockets = Arc::new(sockets);
        loop {
            let Some(accepted) = stop.run_until_cancelled(listener.accept()).await else {
                return false;
            };
            let (who, sockets) = (who.to_owned(), Arc::clone(&sockets));
            let conversed = async {
                let stream = accepted?.0.into_std()?;
                spawn_blocking(move || converse(stream, &who, &sockets)).await?
            };
            match conversed.await {
                Ok(()) => {
                    tracing::info!("the sockets are handed over");
                    return true;
                }
                Err(error) => {
                    tracing::warn!(%error, "the sockets are not handed over: this process goes on");
                    tokio::time::sleep(limits::REST).await;
                }
            }
        }
    }
}
