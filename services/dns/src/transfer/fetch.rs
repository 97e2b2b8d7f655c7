//! One transfer over one connection: asks for the serial, and if it is newer for the zone.

use std::{net::SocketAddr, sync::Arc};

use domain::{
    base::{
        Message, MessageBuilder, ParsedName, Rtype,
        iana::{Class, Rcode},
    },
    rdata::Soa,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use super::{
    TransferError, TransferLimits, apply,
    read::{Reader, is_newer},
};
use crate::{
    Zone,
    message::{self, Name},
    tsig::{self, TsigFault, TsigKey, Verifier},
};

/// Where a zone is asked for.
#[derive(Debug, Clone)]
pub struct Primary {
    /// Its address.
    pub address: SocketAddr,
    /// The key that its answers have to be signed with.
    pub key: Option<Arc<TsigKey>>,
}

/// What one visit at a primary has brought.
#[derive(Debug)]
pub(crate) enum Fetched {
    /// The zone is as we have it.
    Current,
    /// A newer zone, and whether it came as changes.
    New {
        /// The zone.
        zone: Arc<Zone>,
        /// True if only its changes were transferred.
        by_changes: bool,
    },
}

/// Asks `primary` for what is newer than `held` of the zone `apex`. If its changes cannot be used,
/// the zone is asked for as a whole.
pub(crate) async fn fetch(
    primary: &Primary,
    apex: &Name,
    held: Option<Arc<Zone>>,
    limits: TransferLimits,
) -> Result<Fetched, TransferError> {
    let visit = async {
        match visit(primary, apex, held.clone(), limits).await {
            Err(error) if held.is_some() && error.is_about_changes() => {
                tracing::info!(zone = %apex, primary = %primary.address, %error,
                    "the changes of a zone cannot be used; it is asked for as a whole");
                visit_for_all(primary, apex, limits).await
            }
            other => other,
        }
    };
    match timeout(limits.time, visit).await {
        Ok(fetched) => fetched,
        Err(_) => Err(TransferError::Time(limits.time)),
    }
}

impl TransferError {
    /// Whether the zone as a whole may still be had where its changes could not.
    fn is_about_changes(&self) -> bool {
        !matches!(
            self,
            Self::Connection(_)
                | Self::Idle(_)
                | Self::Time(_)
                | Self::Tsig(_)
                | Self::Older { .. }
                | Self::Octets(_)
        )
    }
}

async fn visit(
    primary: &Primary,
    apex: &Name,
    held: Option<Arc<Zone>>,
    limits: TransferLimits,
) -> Result<Fetched, TransferError> {
    let mut session = Session::open(primary, limits).await?;
    let Some(zone) = held else {
        return session.transfer(apex, None).await;
    };
    let held = zone.soa().serial().into_int();
    let offered = session.serial(apex).await?;
    if offered == held {
        return Ok(Fetched::Current);
    }
    if !is_newer(offered, held) {
        return Err(TransferError::Older { offered, held });
    }
    session.transfer(apex, Some(zone)).await
}

async fn visit_for_all(
    primary: &Primary,
    apex: &Name,
    limits: TransferLimits,
) -> Result<Fetched, TransferError> {
    Session::open(primary, limits).await?.transfer(apex, None).await
}

/// A connection to a primary.
struct Session<'p> {
    stream: TcpStream,
    key: Option<&'p TsigKey>,
    limits: TransferLimits,
}

impl<'p> Session<'p> {
    async fn open(primary: &'p Primary, limits: TransferLimits) -> Result<Self, TransferError> {
        let stream = within(limits, TcpStream::connect(primary.address)).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, key: primary.key.as_deref(), limits })
    }

    /// The serial that the primary has.
    async fn serial(&mut self, apex: &Name) -> Result<u32, TransferError> {
        let (id, mut verifier) = self.ask(apex, Rtype::SOA, None).await?;
        let answer = self.hear(verifier.as_mut()).await?;
        let answer = Message::from_octets(answer).map_err(|_| TransferError::Malformed)?;
        if answer.header().id() != id || !answer.header().qr() {
            return Err(TransferError::OtherMessage);
        }
        if answer.header().rcode() != Rcode::NOERROR {
            return Err(TransferError::Rcode(answer.header().rcode()));
        }
        let records = answer.answer().map_err(|_| TransferError::Malformed)?;
        let mut soas = records.limit_to_in::<Soa<ParsedName<_>>>().flatten();
        let soa = soas.find(|record| record.owner() == apex).ok_or(TransferError::NoSoa)?;
        Ok(soa.data().serial().into_int())
    }

    /// Transfers the zone, or what has changed since `held`.
    async fn transfer(
        &mut self,
        apex: &Name,
        held: Option<Arc<Zone>>,
    ) -> Result<Fetched, TransferError> {
        let rtype = if held.is_some() { Rtype::IXFR } else { Rtype::AXFR };
        let (id, mut verifier) = self.ask(apex, rtype, held.as_deref()).await?;
        let serial = held.as_ref().map(|zone| zone.soa().serial().into_int());
        let mut reader = Reader::new(apex.clone(), id, serial, self.limits);
        loop {
            let message = self.hear(verifier.as_mut()).await?;
            if reader.read(message)? {
                break;
            }
        }
        if verifier.is_some_and(|verifier| !verifier.is_complete()) {
            return Err(TsigFault::Unsigned.into());
        }
        let by_changes = reader.is_by_changes();
        let (brought, limits) = (reader.finish()?, self.limits);
        let work = move || apply::apply(brought, held.as_deref(), &limits);
        let zone = tokio::task::spawn_blocking(work).await.expect("a zone is made or refused")?;
        let new = |zone| Fetched::New { zone: Arc::new(zone), by_changes };
        Ok(zone.map_or(Fetched::Current, new))
    }

    async fn ask(
        &mut self,
        apex: &Name,
        rtype: Rtype,
        held: Option<&Zone>,
    ) -> Result<(u16, Option<Verifier<'p>>), TransferError> {
        let id = fastrand::u16(..);
        let mut query = question(id, apex, rtype, held);
        let now = headroom_clock::now();
        let verifier =
            self.key.map(|key| Verifier::new(key, tsig::sign_request(key, &mut query, now)));
        let length = u16::try_from(query.len()).map_err(|_| TransferError::Malformed)?;
        let framed = [&length.to_be_bytes(), query.as_slice()].concat();
        within(self.limits, self.stream.write_all(&framed)).await?;
        Ok((id, verifier))
    }

    async fn hear(
        &mut self,
        verifier: Option<&mut Verifier<'p>>,
    ) -> Result<Vec<u8>, TransferError> {
        let stream = &mut self.stream;
        let read = async {
            let mut message = vec![0; stream.read_u16().await?.into()];
            stream.read_exact(&mut message).await?;
            Ok(message)
        };
        let mut message = within(self.limits, read).await?;
        if let Some(verifier) = verifier {
            verifier.check(&mut message, headroom_clock::now())?;
        }
        Ok(message)
    }
}

/// What the primary does, if it is not silent for too long.
async fn within<T>(
    limits: TransferLimits,
    action: impl Future<Output = std::io::Result<T>>,
) -> Result<T, TransferError> {
    match timeout(limits.idle, action).await {
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            Err(TransferError::CutShort)
        }
        Ok(done) => Ok(done?),
        Err(_) => Err(TransferError::Idle(limits.idle)),
    }
}

/// A question; of type IXFR with the SOA record that we have (RFC 1995 §3).
fn question(id: u16, apex: &Name, rtype: Rtype, held: Option<&Zone>) -> Vec<u8> {
    let mut builder = MessageBuilder::new_vec();
    builder.header_mut().set_id(id);
    let mut question = builder.question();
    question.push((apex, rtype, Class::IN)).expect("a question fits");
    let mut authority = question.authority();
    if let Some(zone) = held {
        let data = message::Data::Soa(zone.soa().clone());
        authority.push(message::record(apex, 0, data)).expect("a record fits");
    }
    authority.finish()
}

#[cfg(test)]
mod tests;
