//! Random secrets: tokens and challenges.

use std::fmt::Write;

use crate::{ExchangeError, limits::SECRET_BYTES};

/// A new secret in hexadecimal, with a prefix that says what it is for.
///
/// # Errors
/// If the system gives no random bytes.
pub(crate) fn new(prefix: &str) -> Result<String, ExchangeError> {
    let mut bytes = [0; SECRET_BYTES];
    getrandom::fill(&mut bytes).map_err(ExchangeError::Random)?;
    let mut secret = prefix.to_owned();
    for byte in bytes {
        let _ = write!(secret, "{byte:02x}");
    }
    Ok(secret)
}

#[cfg(test)]
mod tests {
    #[test]
    fn secrets_are_long_and_differ() {
        let (first, second) = (super::new("hr_").unwrap(), super::new("hr_").unwrap());
        assert_eq!(first.len(), 3 + 48);
        assert_ne!(first, second);
    }
}
