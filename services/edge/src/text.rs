//! Numbers as text, into buffers.

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
