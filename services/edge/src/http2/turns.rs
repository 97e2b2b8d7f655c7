//! The jobs of a connection: they go on when they are woken, and what they have to send goes out in
//! turn, a frame each.

use std::task::{Context, Poll};

use bytes::Bytes;
use http::Response;

use super::{
    Http2,
    frame::{DATA, END_STREAM, FrameHead},
    job::{Job, Next, Sending, Work},
    reply::Block,
};
use crate::{
    body::EdgeBody,
    limits,
    reply::{HeadWriter as _, Length, write_head, write_interim},
};

/// How it goes on with a job.
enum State {
    GoesOn,
    /// Its response is whole.
    Whole,
    /// Its response is not, and nothing more comes.
    CutOff,
}

impl Http2 {
    /// Lets jobs go on that were woken, then sends pieces of bodies in turn.
    pub(super) fn poll_jobs(&mut self, cx: &Context<'_>) {
        if let Some(ready) = &self.ready {
            ready.listen(cx);
            self.woken.add_all(ready.take());
        }
        while self.outbox.has_room()
            && let Some(slot) = self.woken.next(0)
        {
            self.woken.remove(slot);
            self.with_job(slot, Self::go_on);
        }
        while self.outbox.has_room()
            && self.session.has_room()
            && let Some(slot) = self.sendable.next(self.turn)
        {
            self.turn = slot + 1;
            self.with_job(slot, Self::send_piece);
        }
        if self.jobs.is_empty() {
            self.ready = None;
        }
    }

    /// Whether something can be done without the visitor.
    pub(super) fn has_more(&self) -> bool {
        !self.woken.is_empty() || !self.sendable.is_empty() && self.session.has_room()
    }

    /// Does something with a job, which then goes on or is at its end.
    fn with_job(&mut self, slot: usize, work: fn(&mut Self, usize, &mut Job) -> State) {
        let Some(mut job) = self.jobs.take_out(slot) else {
            self.sendable.remove(slot);
            return;
        };
        let state = work(self, slot, &mut job);
        if matches!(state, State::GoesOn) {
            self.jobs.put_back(slot, job);
            return;
        }
        drop(job);
        self.jobs.free();
        self.sendable.remove(slot);
        let out = self.outbox.writer();
        match state {
            State::CutOff => self.session.cut(slot, out),
            State::GoesOn | State::Whole => self.session.finish(slot, out),
        }
    }

    /// Whatever a job was woken for.
    fn go_on(&mut self, slot: usize, job: &mut Job) -> State {
        if let Some(inlet) = &job.inlet {
            let taken = inlet.taken();
            if taken > 0 {
                self.session.taken(slot, taken, self.outbox.writer());
            }
        }
        let Work::Serving(serving, interim) = &mut job.work else {
            self.sendable.add(slot);
            return State::GoesOn;
        };
        let response = serving.as_mut().poll(&mut Context::from_waker(&job.waker));
        let interim = interim.take();
        for (status, mut headers) in interim {
            self.hall.worker.pass_on(&mut headers);
            let owes = self.session.owes_table_size();
            let mut block = Block::new(self.outbox.writer(), job.stream, owes);
            write_interim(&mut block, status, &headers);
            self.session.wrote_block();
            self.went_on();
        }
        let Poll::Ready(response) = response else { return State::GoesOn };
        let length = self.write_head(job.stream, &response, job.to_head);
        let mut sending = Sending::new(response.into_body(), length);
        if length == Length::None {
            return State::Whole;
        }
        if length == Length::Known(0) {
            // Whoever counts it learns that it is whole.
            let _ = sending.poll_next(0, &mut Context::from_waker(&job.waker));
            return State::Whole;
        }
        job.work = Work::Sending(sending);
        self.sendable.add(slot);
        State::GoesOn
    }

    /// Writes the head of a response. Without content, it is all there is.
    pub(super) fn write_head(
        &mut self,
        stream: u32,
        response: &Response<EdgeBody>,
        to_head: bool,
    ) -> Length {
        let owes = self.session.owes_table_size();
        let mut block = Block::new(self.outbox.writer(), stream, owes);
        let length = match write_head(&mut block, response, to_head) {
            _ if to_head => Length::None,
            length => length,
        };
        if matches!(length, Length::None | Length::Known(0)) {
            block.ends_stream();
        }
        block.end();
        self.session.wrote_block();
        self.went_on();
        length
    }

    /// Sends what comes next of a body, if the visitor has room for it.
    fn send_piece(&mut self, slot: usize, job: &mut Job) -> State {
        let room = self.session.room(slot).min(self.session.payload_max());
        let Work::Sending(sending) = &mut job.work else {
            self.sendable.remove(slot);
            return State::GoesOn;
        };
        if room == 0 {
            self.sendable.remove(slot);
            return State::GoesOn;
        }
        match sending.poll_next(room, &mut Context::from_waker(&job.waker)) {
            Poll::Ready(Next::Piece(piece, is_last)) => {
                self.session.sent(Some(slot), piece.len());
                self.put_data(job.stream, piece, is_last, false);
                if is_last { State::Whole } else { State::GoesOn }
            }
            Poll::Ready(Next::End) => {
                self.put_data(job.stream, Bytes::new(), true, true);
                State::Whole
            }
            Poll::Ready(Next::CutOff) => State::CutOff,
            Poll::Pending => {
                self.sendable.remove(slot);
                State::GoesOn
            }
        }
    }

    /// Puts a DATA frame into the outbox; its content is copied, or sent from where it lies.
    pub(super) fn put_data(&mut self, stream: u32, piece: Bytes, is_last: bool, copies: bool) {
        let flags = if is_last { END_STREAM } else { 0 };
        let head = FrameHead { length: piece.len(), kind: DATA, flags, stream };
        let out = self.outbox.writer();
        out.extend_from_slice(&head.to_bytes());
        if copies || piece.len() <= limits::H2_COPIED_BYTES_MAX {
            out.extend_from_slice(&piece);
        } else {
            self.outbox.refer(piece);
        }
        self.went_on();
    }

    /// Nobody waits for a request any more.
    pub(super) fn drop_job(&mut self, slot: usize) {
        if self.jobs.take_out(slot).is_some() {
            self.jobs.free();
        }
        self.woken.remove(slot);
        self.sendable.remove(slot);
    }

    /// Notes that a request or a response goes on.
    pub(super) fn went_on(&mut self) {
        self.progress = self.progress.wrapping_add(1);
        self.line.pulse.progress(self.progress);
    }
}
