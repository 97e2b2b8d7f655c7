//! What becomes of a request: a hit is answered at once, one that is malformed is refused, and all
//! else becomes a job.

use std::{sync::Arc, task::Waker};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};

use super::{
    End, Http2,
    frame::Reason,
    head::{Head, Malformed},
    job::{Job, Sending, Work},
    reply::Block,
};
use crate::{
    body::EdgeBody,
    connection::InFlight,
    content::{RequestBody, pipe},
    desk::Desk,
    hit::{Hit, RequestHead as _},
    interim::Interim,
    limits,
    proxy::Visit,
};

impl Http2 {
    /// Answers a request at once if it is a hit; anything else becomes a job.
    pub(super) fn request(&mut self, stream: u32, ends: bool, desk: &mut Desk) -> Result<(), End> {
        let Desk { key, fields, .. } = desk;
        if fields.is_too_large() {
            self.refuse_large(stream, ends);
            return Ok(());
        }
        let head = match Head::read(fields, self.line.peer.scheme, ends) {
            Ok(head) => head,
            Err(Malformed) => return Ok(self.refuse(stream, ends)?),
        };
        let mut visit = None;
        if ends {
            let owes = self.session.owes_table_size();
            let mut block = Block::new(self.outbox.writer(), stream, owes);
            match self.hall.worker.hit(&self.line, &head, key, &mut block) {
                Hit::Written(body) => {
                    if body.is_empty() {
                        block.ends_stream();
                    }
                    self.session.wrote_block();
                    self.went_on();
                    self.send_at_hand(stream, body);
                    return Ok(());
                }
                Hit::Not(known) => visit = known,
            }
        }
        let Some(request) = head.request(()) else { return Ok(self.refuse(stream, ends)?) };
        let length = head.content_length();
        self.begin(stream, request, (!ends).then_some(length), visit);
        Ok(())
    }

    /// RFC 9113 §8.1.1.
    fn refuse(&mut self, stream: u32, ends: bool) -> Result<(), Reason> {
        self.hall.worker.shared.metrics.malformed.inc();
        self.session.refuse(stream, !ends, Reason::Protocol, self.outbox.writer())
    }

    /// RFC 6585 §5.
    fn refuse_large(&mut self, stream: u32, ends: bool) {
        self.hall.worker.shared.metrics.malformed.inc();
        let mut response = Response::new(EdgeBody::empty());
        *response.status_mut() = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        self.write_head(stream, &response, false);
        if !ends {
            self.session.reset(stream, true, Reason::NoError, self.outbox.writer());
        }
    }

    /// Sends the body of a hit behind its head: at once as far as the visitor has room.
    fn send_at_hand(&mut self, stream: u32, mut body: Bytes) {
        if body.is_empty() {
            return;
        }
        if body.len() > self.session.room_for_new() {
            let slot = self.session.open(stream, false, None);
            let waker = self.waker(slot);
            let work = Work::Sending(Sending::at_hand(body));
            let _in_flight = InFlight::new(&self.line);
            let job = Job { stream, to_head: false, work, inlet: None, waker, _in_flight };
            self.jobs.insert(slot, Box::new(job));
            self.sendable.add(slot);
            return;
        }
        self.session.sent(None, body.len());
        let is_small = body.len() <= limits::COPIED_BYTES_MAX;
        while !body.is_empty() {
            let part = body.split_to(body.len().min(self.session.payload_max()));
            self.put_data(stream, part, body.is_empty(), is_small);
        }
    }

    /// Lets a request go the long way. `content` is there if content comes, with its length if that
    /// is said.
    fn begin(
        &mut self,
        stream: u32,
        request: Request<()>,
        content: Option<Option<u64>>,
        visit: Option<Visit>,
    ) {
        let slot = self.session.open(stream, content.is_some(), content.flatten());
        let waker = self.waker(slot);
        let to_head = request.method() == Method::HEAD;
        let (inlet, content) = match content {
            Some(length) => {
                let (inlet, inflow) = pipe(length, waker.clone());
                (Some(inlet), Some(RequestBody::Http2(inflow)))
            }
            None => (None, None),
        };
        let (worker, line) = (Arc::clone(&self.hall.worker), Arc::clone(&self.line));
        let interim = Interim::default();
        let (request, puts) = (request.map(|()| content), interim.clone());
        let serving =
            Box::pin(async move { worker.serve(&line, request, visit, Some(puts)).await });
        let work = Work::Serving(serving, interim);
        let _in_flight = InFlight::new(&self.line);
        let job = Job { stream, to_head, work, inlet, waker, _in_flight };
        self.jobs.insert(slot, Box::new(job));
        self.woken.add(slot);
    }

    /// What wakes the job in a slot.
    fn waker(&mut self, slot: usize) -> Waker {
        self.ready.get_or_insert_default().waker(slot)
    }
}
