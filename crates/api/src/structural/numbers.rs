//! Numbers with a check digit.

/// Whether the digits' check digit is the one of payment cards.
pub(super) fn luhn(digits: &str) -> bool {
    let sum: u32 = digits
        .bytes()
        .rev()
        .enumerate()
        .map(|(place, byte)| {
            let digit = u32::from(byte - b'0') * if place % 2 == 1 { 2 } else { 1 };
            if digit > 9 { digit - 9 } else { digit }
        })
        .sum();
    sum.is_multiple_of(10)
}

fn without_separators(text: &str) -> Vec<u8> {
    text.bytes().filter(|byte| !matches!(byte, b'-' | b' ')).collect()
}

/// Whether the text is an ISBN of ten digits.
pub(super) fn isbn10(text: &str) -> bool {
    let digits = without_separators(text);
    if digits.len() != 10 {
        return false;
    }
    let mut sum = 0;
    for (place, byte) in (1_u32..).zip(&digits) {
        sum += match byte {
            b'0'..=b'9' => place * u32::from(byte - b'0'),
            b'X' if place == 10 => 100,
            _ => return false,
        };
    }
    sum.is_multiple_of(11)
}

/// Whether the text is an ISBN of thirteen digits.
pub(super) fn isbn13(text: &str) -> bool {
    let digits = without_separators(text);
    if digits.len() != 13 || !digits.iter().all(u8::is_ascii_digit) {
        return false;
    }
    let weights = [1, 3].into_iter().cycle();
    let sum: u32 = weights.zip(&digits).map(|(weight, byte)| weight * u32::from(byte - b'0')).sum();
    sum.is_multiple_of(10)
}
