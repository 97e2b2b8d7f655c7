//! Numbers and addresses as text, into buffers.

use std::{io::Write as _, net::IpAddr};

/// Writes a number in decimal digits.
pub(crate) fn write_number(line: &mut Vec<u8>, number: u64) {
    let mut digits = [b'0'; 20];
    let used = write_digits(&mut digits, number).max(1);
    line.extend_from_slice(&digits[digits.len() - used..]);
}

/// Writes a number at the end of `digits`; how many it needed.
pub(crate) fn write_digits(digits: &mut [u8], mut number: u64) -> usize {
    let mut used = 0;
    for digit in digits.iter_mut().rev() {
        if number == 0 {
            break;
        }
        *digit = b'0' + u8::try_from(number % 10).unwrap_or(0);
        number /= 10;
        used += 1;
    }
    used
}

/// Writes an address as it is usually written; an IPv4 address in IPv6 as IPv4.
pub(crate) fn write_address(line: &mut Vec<u8>, address: IpAddr) {
    let IpAddr::V4(address) = address.to_canonical() else {
        write!(line, "{address}").expect("a buffer takes whatever is written");
        return;
    };
    for (index, octet) in address.octets().into_iter().enumerate() {
        if index > 0 {
            line.push(b'.');
        }
        write_number(line, u64::from(octet));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_as_they_are_shown() {
        for (address, expected) in [
            ("0.0.0.0", "0.0.0.0"),
            ("192.0.2.255", "192.0.2.255"),
            ("::ffff:10.1.0.9", "10.1.0.9"),
            ("2001:db8::1", "2001:db8::1"),
        ] {
            let mut line = Vec::new();
            write_address(&mut line, address.parse().unwrap());
            assert_eq!(line, expected.as_bytes());
        }
    }
}
