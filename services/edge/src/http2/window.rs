//! Flow control (RFC 9113 §5.2, §6.9): how much content each side may send.

use crate::limits::{H2_CONNECTION_WINDOW, H2_STREAM_WINDOW};

/// What a window holds before anybody says anything (RFC 9113 §6.9.2).
pub(crate) const WINDOW_FIRST: u32 = 65_535;
/// The most a window holds (RFC 9113 §6.9.1).
const WINDOW_LARGEST: i64 = 0x7fff_ffff;

/// A window that holds more than any may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Overflow;

/// How much we may send.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SendWindow(i64);

impl SendWindow {
    pub(crate) fn new(size: u32) -> Self {
        Self(size.into())
    }

    /// How many bytes may be sent now.
    pub(crate) fn room(self) -> usize {
        usize::try_from(self.0).unwrap_or(0)
    }

    /// Changes it by what the visitor says; it may become less than nothing (RFC 9113 §6.9.2).
    pub(crate) fn change(&mut self, by: i64) -> Result<(), Overflow> {
        self.0 += by;
        if self.0 > WINDOW_LARGEST { Err(Overflow) } else { Ok(()) }
    }

    /// Takes bytes that are sent.
    pub(crate) fn take(&mut self, bytes: usize) {
        self.0 -= i64::try_from(bytes).unwrap_or(i64::MAX);
    }
}

/// How much a visitor may send, which is given back as it is used up.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReceiveWindow {
    left: u32,
    /// What was used up and is not given back yet.
    used: u32,
    size: u32,
}

impl ReceiveWindow {
    pub(crate) fn of_stream() -> Self {
        Self { left: H2_STREAM_WINDOW, used: 0, size: H2_STREAM_WINDOW }
    }

    pub(crate) fn of_connection() -> Self {
        Self { left: H2_CONNECTION_WINDOW, used: 0, size: H2_CONNECTION_WINDOW }
    }

    /// Takes in bytes that came; false if they were too many.
    pub(crate) fn came(&mut self, bytes: u32) -> bool {
        match self.left.checked_sub(bytes) {
            Some(left) => self.left = left,
            None => return false,
        }
        true
    }

    /// Notes that bytes which came are used up. How much to give back, once it is worth a frame.
    pub(crate) fn used(&mut self, bytes: u32) -> Option<u32> {
        self.used += bytes;
        if self.used < self.size / 2 {
            return None;
        }
        self.left += self.used;
        Some(std::mem::take(&mut self.used))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_may_be_less_than_nothing_and_not_more_than_the_most() {
        let mut window = SendWindow::new(WINDOW_FIRST);
        window.take(65_535);
        assert_eq!(window.room(), 0);
        assert_eq!(window.change(-100), Ok(()));
        assert_eq!(window.room(), 0);
        assert_eq!(window.change(101), Ok(()));
        assert_eq!(window.room(), 1);
        assert_eq!(window.change(WINDOW_LARGEST - 1), Ok(()));
        assert_eq!(window.change(1), Err(Overflow));
    }

    #[test]
    fn what_is_used_up_is_given_back_by_halves() {
        let mut window = ReceiveWindow::of_stream();
        assert!(window.came(H2_STREAM_WINDOW) && !window.came(1));
        assert_eq!(window.used(H2_STREAM_WINDOW / 2 - 1), None);
        assert_eq!(window.used(1), Some(H2_STREAM_WINDOW / 2));
        assert!(window.came(H2_STREAM_WINDOW / 2) && !window.came(1));
    }
}
