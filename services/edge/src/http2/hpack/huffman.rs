//! The Huffman code of HPACK (RFC 7541 §5.2, Appendix B). Only decoding: what we send is short.

/// How many bits the code of each octet has, and that of EOS behind them. The code is canonical:
/// of equally long codes, the next one is that of the next symbol.
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, //
    28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28, //
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, //
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, //
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, //
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, //
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, //
    6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, //
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, //
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, //
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, //
    21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, //
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, //
    19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, //
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, //
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, //
    30,
];
const EOS: u16 = 256;
const LONGEST: usize = 30;
/// Codes of so many bits are looked up at once.
const QUICK_BITS: usize = 8;

/// The codes of one length: the first of them, how many there are, and where their symbols are.
#[derive(Clone, Copy)]
struct Group {
    first: u32,
    count: u32,
    at: usize,
}

/// All there is to decode with.
struct Code {
    groups: [Group; LONGEST + 1],
    /// The symbols in the order of their codes.
    symbols: [u16; LENGTHS.len()],
    /// For every eight bits: the symbol they begin with, and how long its code is; 0 if longer.
    quick: [(u8, u8); 1 << QUICK_BITS],
}

static CODE: Code = Code::new();

impl Code {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "octets and lengths fit; const has no try_from"
    )]
    const fn new() -> Self {
        let mut groups = [Group { first: 0, count: 0, at: 0 }; LONGEST + 1];
        let mut symbols = [0; LENGTHS.len()];
        let mut quick = [(0, 0); 1 << QUICK_BITS];
        let (mut next, mut at, mut length) = (0, 0, 1);
        while length <= LONGEST {
            next <<= 1;
            groups[length] = Group { first: next, count: 0, at };
            let mut symbol = 0;
            while symbol < LENGTHS.len() {
                if LENGTHS[symbol] as usize == length {
                    symbols[at] = symbol as u16;
                    if length <= QUICK_BITS {
                        let begin = (next as usize) << (QUICK_BITS - length);
                        let mut rest = 0;
                        while rest < 1 << (QUICK_BITS - length) {
                            quick[begin + rest] = (symbol as u8, length as u8);
                            rest += 1;
                        }
                    }
                    groups[length].count += 1;
                    next += 1;
                    at += 1;
                }
                symbol += 1;
            }
            length += 1;
        }
        Self { groups, symbols, quick }
    }
}

/// Bits that were not decoded yet, the last `count` of `bits`.
#[derive(Default)]
struct Bits {
    bits: u64,
    count: usize,
}

impl Bits {
    /// The next `length` bits. There must be so many.
    fn peek(&self, length: usize) -> u32 {
        let mask = (1_u64 << length) - 1;
        u32::try_from((self.bits >> (self.count - length)) & mask).unwrap_or(u32::MAX)
    }

    /// The next octet, behind the end with ones.
    fn peek_octet(&self) -> usize {
        let bits = if self.count >= QUICK_BITS {
            self.bits >> (self.count - QUICK_BITS)
        } else {
            let missing = QUICK_BITS - self.count;
            (self.bits << missing) | ((1 << missing) - 1)
        };
        usize::from(u8::try_from(bits & 0xff).unwrap_or(u8::MAX))
    }

    /// RFC 7541 §5.2: less than an octet, all ones.
    fn is_padding(&self) -> bool {
        self.count < 8 && self.peek(self.count) == (1 << self.count) - 1
    }
}

/// Decodes `coded` to the end of `out`; false if it is not sound (RFC 7541 §5.2). An error leaves
/// something of it there.
pub(super) fn decode(coded: &[u8], out: &mut Vec<u8>) -> bool {
    let mut coded = coded.iter();
    let mut bits = Bits::default();
    loop {
        while bits.count <= 56
            && let Some(octet) = coded.next()
        {
            bits.bits = bits.bits << 8 | u64::from(*octet);
            bits.count += 8;
        }
        let (symbol, length) = CODE.quick[bits.peek_octet()];
        let length = usize::from(length);
        if length > 0 && length <= bits.count {
            out.push(symbol);
            bits.count -= length;
            continue;
        }
        match long_symbol(&bits) {
            Some((symbol, length)) if symbol != EOS => {
                out.push(u8::try_from(symbol).unwrap_or(u8::MAX));
                bits.count -= length;
            }
            Some(_) => return false,
            None => return bits.is_padding(),
        }
    }
}

/// The symbol of a code that is not looked up at once, and how long the code is.
fn long_symbol(bits: &Bits) -> Option<(u16, usize)> {
    (QUICK_BITS + 1..=LONGEST.min(bits.count)).find_map(|length| {
        let group = CODE.groups[length];
        let index = bits.peek(length).checked_sub(group.first)?;
        let at = group.at + usize::try_from(index).ok()?;
        (index < group.count).then(|| (CODE.symbols[at], length))
    })
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `text` in the code, with `padding` as the last bits.
    fn encode_with(text: &[u16], padding: u64) -> Vec<u8> {
        let mut bits = String::new();
        for symbol in text {
            let length = usize::from(LENGTHS[usize::from(*symbol)]);
            let group = CODE.groups[length];
            let symbols = &CODE.symbols[group.at..];
            let index = symbols.iter().position(|found| found == symbol).unwrap();
            let code = group.first + u32::try_from(index).unwrap();
            bits.push_str(&format!("{code:0length$b}"));
        }
        while !bits.len().is_multiple_of(8) {
            bits.push(if padding == 1 { '1' } else { '0' });
        }
        let octets = bits.as_bytes().chunks(8);
        octets.map(|bits| u8::from_str_radix(str::from_utf8(bits).unwrap(), 2).unwrap()).collect()
    }

    pub(in super::super) fn encode(text: &[u8]) -> Vec<u8> {
        encode_with(&text.iter().map(|octet| u16::from(*octet)).collect::<Vec<_>>(), 1)
    }

    fn decoded(coded: &[u8]) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        decode(coded, &mut out).then_some(out)
    }

    #[test]
    fn the_code_is_complete_and_that_of_the_rfc() {
        let space: u64 =
            LENGTHS.iter().map(|length| 1_u64 << (LONGEST - usize::from(*length))).sum();
        assert_eq!(space, 1 << LONGEST, "every bit string is a code or begins one");
        // RFC 7541 §C.4.1, §C.6.1.
        let coded = [0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff];
        assert_eq!(decoded(&coded).unwrap(), b"www.example.com");
        assert_eq!(decoded(&[0x64, 0x02]).unwrap(), b"302");
        assert_eq!(encode(b"www.example.com"), coded);
    }

    #[test]
    fn padding_is_short_and_all_ones() {
        // "0" is 00000.
        assert_eq!(decoded(&[0b0000_0111]).unwrap(), b"0");
        assert_eq!(decoded(&[]).unwrap(), b"");
        for unsound in [&[0b0000_0110][..], &[0b0000_0111, 0xff], &[0xff], &[0xff; 2], &[0xff; 3]] {
            assert_eq!(decoded(unsound), None, "{unsound:x?}");
        }
        assert_eq!(decoded(&encode_with(&[EOS], 1)), None);
        assert_eq!(decoded(&encode_with(&[97, EOS, 97], 1)), None);
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(text in prop::collection::vec(any::<u8>(), 0..100)) {
            prop_assert_eq!(decoded(&encode(&text)), Some(text));
        }

        #[test]
        fn what_is_decoded_is_the_one_way_to_say_it(coded in prop::collection::vec(any::<u8>(), 0..40)) {
            if let Some(text) = decoded(&coded) {
                prop_assert_eq!(encode(&text), coded);
            }
        }
    }
}
