//! Connections (RFC 7766): each message behind its length, many on one connection.
//!
//! All messages that have come whole are answered at once and their answers sent together, each
//! whole; meanwhile the client may send more, or end its side. An answer does not wait for a later
//! query, nor a query for an earlier answer to be read, beyond what fits into the socket.

use std::{
    future::ready,
    io,
    net::{SocketAddr, TcpListener as StdTcpListener},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use bytes::{Buf, BytesMut};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{Instant, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;

use crate::{
    Transport,
    connections::{Connections, Slot},
    dot::Tls,
    limits,
    server::Shared,
};

/// How long to wait after the system refused a connection, as when out of file descriptors.
const FAULT_PAUSE: Duration = Duration::from_millis(50);
/// What stands before each message.
const LENGTH: usize = 2;

pub(crate) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(limits::TCP_BACKLOG)?;
    TcpListener::from_std(StdTcpListener::from(socket))
}

/// What all connections of one listener share.
#[derive(Debug, Clone)]
pub(crate) struct Service {
    pub(crate) shared: Arc<Shared>,
    pub(crate) connections: Arc<Connections>,
    /// If it speaks TLS.
    pub(crate) tls: Option<Arc<Tls>>,
}

/// Accepts until the end of `taking`; at the end of `talking` it lets open connections finish
/// their message.
pub(crate) async fn serve(
    listener: TcpListener,
    service: Service,
    taking: CancellationToken,
    talking: CancellationToken,
) {
    let mut tasks = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = taking.cancelled() => break,
            Some(_) = tasks.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        let (stream, source) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(FAULT_PAUSE).await;
                continue;
            }
        };
        let now = headroom_clock::now();
        let (slot, displaced) = service.connections.admit(source.ip(), now);
        service.shared.metrics.connections_displaced.inc_by(displaced);
        let (service, stop) = (service.clone(), talking.clone());
        tasks.spawn(async move {
            service.shared.metrics.connections.inc();
            let served = tokio::select! {
                served = service.serve(stream, source, &slot, &stop) => served,
                () = slot.displaced() => Ok(()),
            };
            if let Err(error) = served {
                tracing::debug!(%error, %source, "a connection ended early");
            }
            service.shared.metrics.connections.dec();
        });
    }
    drop(listener);
    let cut_off = async {
        talking.cancelled().await;
        tokio::time::sleep(limits::STOP_GRACE).await;
    };
    tokio::select! {
        () = async { while tasks.join_next().await.is_some() {} } => {}
        () = cut_off => tracing::debug!("connections were cut off"),
    }
}

impl Service {
    async fn serve(
        &self,
        stream: TcpStream,
        source: SocketAddr,
        slot: &Slot,
        stop: &CancellationToken,
    ) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let (transport, tls) = match &self.tls {
            None => (Transport::Tcp, None),
            Some(tls) => (Transport::Tls, Some(tls)),
        };
        let shared = &self.shared;
        let answer = |query: BytesMut| async move {
            let answered = shared.answer_in_time(&query, source, transport).await;
            answered.map(|answered| answered.octets)
        };
        match tls {
            None => converse(stream, answer, slot, stop).await,
            Some(tls) => {
                let stream = timeout(limits::TLS_HANDSHAKE_TIME, tls.accept(stream)).await??;
                converse(stream, answer, slot, stop).await
            }
        }
    }
}

/// Answers until the client ends, is idle or too slow, or it is told to stop.
async fn converse<S, A>(
    mut stream: S,
    answer: impl Fn(BytesMut) -> A,
    slot: &Slot,
    stop: &CancellationToken,
) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
    A: Future<Output = Option<Vec<u8>>>,
{
    let mut came = BytesMut::new();
    loop {
        if !receive(&mut stream, &mut came, stop).await? {
            // It is done or idle. Over TLS it is told so.
            return timeout(limits::TCP_MESSAGE_TIME, stream.shutdown()).await?;
        }
        let mut answers = Vec::new();
        while let Some(query) = take_message(&mut came) {
            let mut answering = pin!(answer(query));
            let response = tokio::select! {
                biased;
                response = &mut answering => response,
                () = ready(()) => {
                    // It is asked for elsewhere. What was answered before does not wait for it.
                    send(&mut stream, &mut answers).await?;
                    answering.await
                }
            };
            if let Some(response) = response {
                let length = u16::try_from(response.len()).expect("no message is longer");
                answers.extend_from_slice(&length.to_be_bytes());
                answers.extend_from_slice(&response);
            }
            if answers.len() >= limits::TCP_ANSWERS_MAX {
                send(&mut stream, &mut answers).await?;
            }
        }
        send(&mut stream, &mut answers).await?;
        slot.touch(headroom_clock::now());
    }
}

/// Reads until a message is whole. False if the client is done or idle, or it is time to stop.
async fn receive(
    stream: &mut (impl AsyncRead + Unpin),
    came: &mut BytesMut,
    stop: &CancellationToken,
) -> io::Result<bool> {
    if came.is_empty() {
        // An idle connection holds no buffer.
        *came = BytesMut::new();
    }
    let mut deadline = None;
    while message_length(came).is_none_or(|length| came.len() < LENGTH + length) {
        came.reserve(message_length(came).unwrap_or(limits::TCP_READ));
        let count = if came.is_empty() {
            let reading = timeout(limits::TCP_IDLE, stream.read_buf(came));
            tokio::select! {
                () = stop.cancelled() => return Ok(false),
                read = reading => match read {
                    Ok(count) => count?,
                    Err(_) => return Ok(false),
                },
            }
        } else {
            let until = *deadline.get_or_insert_with(|| Instant::now() + limits::TCP_MESSAGE_TIME);
            timeout_at(until, stream.read_buf(came)).await??
        };
        if count == 0 {
            // What is not whole now never will be.
            return Ok(false);
        }
    }
    Ok(true)
}

fn message_length(came: &[u8]) -> Option<usize> {
    came.first_chunk().map(|length: &[u8; LENGTH]| u16::from_be_bytes(*length).into())
}

/// The first message, if it has come whole.
fn take_message(came: &mut BytesMut) -> Option<BytesMut> {
    let length = message_length(came).filter(|length| came.len() >= LENGTH + length)?;
    came.advance(LENGTH);
    Some(came.split_to(length))
}

async fn send(stream: &mut (impl AsyncWrite + Unpin), answers: &mut Vec<u8>) -> io::Result<()> {
    if !answers.is_empty() {
        let sending = async {
            stream.write_all(answers).await?;
            stream.flush().await
        };
        timeout(limits::TCP_MESSAGE_TIME, sending).await??;
        answers.clear();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use headroom_units::Timestamp;
    use tokio::io::{DuplexStream, duplex};

    use super::*;
    use crate::ConnectionLimit;

    const LATE: u8 = 9;

    /// A conversation with a server that answers each query with its octets and one more; queries
    /// that begin with zero it leaves unanswered, and those that begin with [`LATE`] it answers late.
    fn start(room: usize) -> (DuplexStream, tokio::task::JoinHandle<io::Result<()>>) {
        let (client, server) = duplex(room);
        let connections = Connections::new(ConnectionLimit::default());
        let (slot, _) = connections.admit([192, 0, 2, 1].into(), Timestamp::EPOCH);
        let answer = async |query: BytesMut| {
            if query.first() == Some(&LATE) {
                tokio::time::sleep(limits::FORWARD_TIME).await;
            }
            (query.first() != Some(&0)).then(|| query.iter().copied().chain([0xff]).collect())
        };
        let stop = CancellationToken::new();
        (client, tokio::spawn(async move { converse(server, answer, &slot, &stop).await }))
    }

    async fn read(client: &mut DuplexStream) -> Vec<u8> {
        let length = client.read_u16().await.unwrap();
        let mut message = vec![0; length.into()];
        client.read_exact(&mut message).await.unwrap();
        message
    }

    #[tokio::test(start_paused = true)]
    async fn queries_are_answered_as_they_come_in_whatever_pieces() {
        let (mut client, task) = start(65_536);
        let sent = [0, 1, 7, 0, 0, 0, 2, 0, 9, 0, 3, 1, 2, 3];
        for octet in sent {
            client.write_all(&[octet]).await.unwrap();
            tokio::task::yield_now().await;
        }
        assert_eq!(read(&mut client).await, [7, 0xff]);
        assert_eq!(read(&mut client).await, [0xff], "an empty message");
        assert_eq!(read(&mut client).await, [1, 2, 3, 0xff]);
        client.write_all(&[sent, sent].concat()).await.unwrap();
        for _ in 0..2 {
            assert_eq!(read(&mut client).await, [7, 0xff]);
            assert_eq!(read(&mut client).await, [0xff]);
            assert_eq!(read(&mut client).await, [1, 2, 3, 0xff]);
        }
        drop(client);
        task.await.unwrap().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_does_not_wait_for_one_that_is_asked_for_elsewhere() {
        let (mut client, task) = start(65_536);
        client.write_all(&[0, 1, 7, 0, 1, LATE, 0, 1, 8]).await.unwrap();
        let begin = Instant::now();
        assert_eq!(read(&mut client).await, [7, 0xff]);
        assert_eq!(begin.elapsed(), Duration::ZERO);
        assert_eq!(read(&mut client).await, [LATE, 0xff]);
        assert!(begin.elapsed() >= limits::FORWARD_TIME);
        assert_eq!(read(&mut client).await, [8, 0xff]);
        drop(client);
        task.await.unwrap().unwrap();
    }

    /// RFC 7766 §6.2.4: what was asked before the client ended its side is answered.
    #[tokio::test(start_paused = true)]
    async fn a_client_that_has_ended_its_side_gets_its_answers() {
        let (mut client, task) = start(65_536);
        client.write_all(&[0, 1, 7, 0, 1, 8, 0, 9, 1]).await.unwrap();
        client.shutdown().await.unwrap();
        let mut all = Vec::new();
        client.read_to_end(&mut all).await.unwrap();
        assert_eq!(all, [0, 2, 7, 0xff, 0, 2, 8, 0xff]);
        task.await.unwrap().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_is_closed_in_order() {
        let (mut client, task) = start(65_536);
        let begin = Instant::now();
        client.write_all(&[0, 1, 7]).await.unwrap();
        assert_eq!(read(&mut client).await, [7, 0xff]);
        assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
        assert_eq!(begin.elapsed(), limits::TCP_IDLE);
        task.await.unwrap().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_that_comes_drop_by_drop_is_cut_off() {
        let (mut client, task) = start(65_536);
        let begin = Instant::now();
        client.write_all(&[1, 0]).await.unwrap();
        while client.write_all(&[7]).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(100)).await;
            assert!(begin.elapsed() < limits::TCP_MESSAGE_TIME * 2);
        }
        assert_eq!(task.await.unwrap().unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_read_is_cut_off() {
        let (mut client, task) = start(64);
        let asking = async { while client.write_all(&[0, 3, 1, 2, 3]).await.is_ok() {} };
        let begin = Instant::now();
        let ((), ended) = tokio::join!(asking, task);
        assert_eq!(ended.unwrap().unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!(begin.elapsed() <= limits::TCP_MESSAGE_TIME);
    }

    #[tokio::test(start_paused = true)]
    async fn the_longest_message_is_answered() {
        let (mut client, task) = start(1_000);
        let query = vec![3; 65_534];
        let (mut reading, mut writing) = tokio::io::split(client);
        let asking = async {
            writing.write_u16(65_534).await.unwrap();
            writing.write_all(&query).await.unwrap();
            writing.shutdown().await.unwrap();
        };
        let mut all = Vec::new();
        let (_, read) = tokio::join!(asking, reading.read_to_end(&mut all));
        assert_eq!(read.unwrap(), 2 + 65_535);
        client = reading.unsplit(writing);
        drop(client);
        task.await.unwrap().unwrap();
    }
}
