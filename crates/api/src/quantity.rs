//! Resource quantities: the only parser and printer of `500m`, `1.5Gi`, `2e3` in the tree.
//!
//! A quantity is a number of nano units, as upstream's smallest step is 1n: finer values are rounded away from zero.
//! Amounts beyond what 128 bits of nano units hold are capped at 2^63-1 units, upstream's documented maximum.

use std::cmp::Ordering;
use std::fmt;
use std::ops::{AddAssign, SubAssign};
use std::str::FromStr;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity as WireQuantity;

const NANOS: i128 = 1_000_000_000;
const MAX_NANOS: i128 = (i64::MAX as i128) * NANOS;

/// Why a text is not a quantity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// It is not a number followed by letters.
    #[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
    Format,
    /// The number cannot be read.
    #[error("unable to parse numeric part of quantity")]
    Numeric,
    /// The suffix is unknown.
    #[error("unable to parse quantity's suffix")]
    Suffix,
}

/// The family of suffixes that a quantity is written with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `12e6`.
    DecimalExponent,
    /// `12Mi`.
    BinarySi,
    /// `12M`.
    DecimalSi,
}

/// An exact amount of some resource. Equality and order ignore the format.
#[derive(Debug, Clone, Copy)]
pub struct Quantity {
    nanos: i128,
    format: Format,
}

/// Suffix, power of ten; in the order of the powers.
const DECIMAL: [(&str, i32); 10] =
    [("n", -9), ("u", -6), ("m", -3), ("", 0), ("k", 3), ("M", 6), ("G", 9), ("T", 12), ("P", 15), ("E", 18)];

/// Suffix, power of two.
const BINARY: [(&str, u32); 6] = [("Ki", 10), ("Mi", 20), ("Gi", 30), ("Ti", 40), ("Pi", 50), ("Ei", 60)];

impl Quantity {
    /// Nothing.
    pub const ZERO: Quantity = Quantity { nanos: 0, format: Format::DecimalSi };

    /// Reads a quantity.
    ///
    /// # Errors
    /// If `text` is not one.
    pub fn parse(text: &str) -> Result<Self, QuantityError> {
        let (negative, unsigned) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, text),
        };
        let digits_end = unsigned.find(|c: char| !c.is_ascii_digit()).unwrap_or(unsigned.len());
        let (integer, rest) = unsigned.split_at(digits_end);
        let (fraction, suffix) = match rest.strip_prefix('.') {
            Some(rest) => rest.split_at(rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len())),
            None => ("", rest),
        };
        if integer.is_empty() && fraction.is_empty() {
            return Err(QuantityError::Format);
        }
        let scale = Scale::parse(suffix)?;
        let magnitude = scale.apply(integer, fraction);
        let format = match scale.format {
            // Fractions of a unit do not exist in binary notation.
            Format::BinarySi if magnitude > 0 && magnitude < NANOS => Format::DecimalSi,
            format => format,
        };
        Ok(Self { nanos: if negative { -magnitude } else { magnitude }, format })
    }

    /// Whole units.
    #[must_use]
    pub fn new(value: i64, format: Format) -> Self {
        Self { nanos: i128::from(value) * NANOS, format }
    }

    /// Thousandths of a unit.
    #[must_use]
    pub fn from_milli(value: i64, format: Format) -> Self {
        Self { nanos: i128::from(value) * (NANOS / 1000), format }
    }

    /// Reads the quantity of an API object.
    ///
    /// # Errors
    /// If its text is not a quantity.
    pub fn from_k8s(quantity: &WireQuantity) -> Result<Self, QuantityError> {
        Self::parse(&quantity.0)
    }

    /// The quantity as API objects hold it.
    #[must_use]
    pub fn to_k8s(self) -> WireQuantity {
        WireQuantity(self.to_string())
    }

    /// Whole units, rounded away from zero.
    #[must_use]
    pub fn value(self) -> i64 {
        self.scaled(NANOS)
    }

    /// Thousandths of a unit, rounded away from zero.
    #[must_use]
    pub fn milli_value(self) -> i64 {
        self.scaled(NANOS / 1000)
    }

    fn scaled(self, unit: i128) -> i64 {
        let quotient = self.nanos / unit;
        let rounded = if self.nanos % unit == 0 { quotient } else { quotient + self.nanos.signum() };
        i64::try_from(rounded).unwrap_or(if rounded < 0 { i64::MIN } else { i64::MAX })
    }

    /// The amount as a floating point number, for ratios.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "ratios need no more precision than a double has")]
    pub fn as_f64(self) -> f64 {
        self.nanos as f64 / NANOS as f64
    }

    /// Whether this is a whole number of units.
    #[must_use]
    pub fn is_integer(self) -> bool {
        self.nanos % NANOS == 0
    }

    /// Whether this is nothing.
    #[must_use]
    pub fn is_zero(self) -> bool {
        self.nanos == 0
    }

    /// -1, 0 or 1.
    #[must_use]
    pub fn sign(self) -> i32 {
        match self.nanos.cmp(&0) {
            Ordering::Less => -1,
            Ordering::Equal => 0,
            Ordering::Greater => 1,
        }
    }

    /// The format it is written with.
    #[must_use]
    pub fn format(self) -> Format {
        self.format
    }

    fn write_decimal(self, f: &mut fmt::Formatter<'_>, format: Format) -> fmt::Result {
        let mut mantissa = self.nanos;
        let mut exponent = -9;
        while exponent < 18 && mantissa % 1000 == 0 {
            mantissa /= 1000;
            exponent += 3;
        }
        match format {
            Format::DecimalExponent if exponent == 0 => write!(f, "{mantissa}"),
            Format::DecimalExponent => write!(f, "{mantissa}e{exponent}"),
            Format::BinarySi | Format::DecimalSi => {
                let suffix = DECIMAL.iter().find(|(_, power)| *power == exponent).map_or("", |(suffix, _)| suffix);
                write!(f, "{mantissa}{suffix}")
            }
        }
    }
}

/// What a suffix multiplies with.
struct Scale {
    format: Format,
    power_of_ten: i32,
    power_of_two: u32,
}

impl Scale {
    fn parse(suffix: &str) -> Result<Self, QuantityError> {
        let decimal = |power_of_ten, format| Self { format, power_of_ten, power_of_two: 0 };
        if let Some((_, power)) = DECIMAL.iter().find(|(name, _)| *name == suffix) {
            return Ok(decimal(*power, Format::DecimalSi));
        }
        if let Some((_, power)) = BINARY.iter().find(|(name, _)| *name == suffix) {
            return Ok(Self { format: Format::BinarySi, power_of_ten: 0, power_of_two: *power });
        }
        let letters_end = suffix.find(|c: char| !"eEinumkKMGTP".contains(c)).unwrap_or(suffix.len());
        let (letters, digits) = suffix.split_at(letters_end);
        let unsigned = digits.strip_prefix(['+', '-']).unwrap_or(digits);
        if !unsigned.chars().all(|c| c.is_ascii_digit()) {
            return Err(QuantityError::Format);
        }
        match letters {
            "e" | "E" => match digits.parse::<i32>() {
                Ok(power) => Ok(decimal(power, Format::DecimalExponent)),
                Err(_) => Err(QuantityError::Suffix),
            },
            _ => Err(QuantityError::Suffix),
        }
    }

    /// The nano units of `integer.fraction` times this scale, rounded up and capped.
    fn apply(&self, integer: &str, fraction: &str) -> i128 {
        // Eighteen digits behind the point keep every product below within 128 bits; what is cut only rounds up.
        let (kept, cut) = fraction.split_at(fraction.len().min(18));
        let mut inexact = cut.bytes().any(|digit| digit != b'0');
        let mut mantissa: i128 = 0;
        for digit in integer.bytes().chain(kept.bytes()) {
            let next = mantissa.checked_mul(10).and_then(|value| value.checked_add(i128::from(digit - b'0')));
            match next {
                Some(next) => mantissa = next,
                None => return MAX_NANOS,
            }
        }
        if mantissa == 0 && !inexact {
            return 0;
        }
        let Some(shifted) = mantissa.checked_mul(1_i128 << self.power_of_two) else {
            return MAX_NANOS;
        };
        let kept_digits = i32::try_from(kept.len()).expect("at most eighteen digits were kept");
        let power = self.power_of_ten.saturating_sub(kept_digits).saturating_add(9);
        if power >= 0 {
            let factor = u32::try_from(power).ok().and_then(|power| 10_i128.checked_pow(power));
            let nanos = factor.and_then(|factor| shifted.checked_mul(factor));
            return nanos.and_then(|nanos| nanos.checked_add(i128::from(inexact))).unwrap_or(MAX_NANOS);
        }
        let Some(divisor) = 10_i128.checked_pow(power.unsigned_abs()) else {
            return 1;
        };
        inexact |= shifted % divisor != 0;
        shifted / divisor + i128::from(inexact)
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nanos == other.nanos
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nanos.cmp(&other.nanos)
    }
}

impl Default for Quantity {
    fn default() -> Self {
        Self::ZERO
    }
}

impl FromStr for Quantity {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        Self::parse(text)
    }
}

/// A zero takes over the format of what is added, so that sums look like their parts.
impl AddAssign for Quantity {
    fn add_assign(&mut self, other: Self) {
        if self.is_zero() {
            self.format = other.format;
        }
        self.nanos = self.nanos.saturating_add(other.nanos);
    }
}

impl SubAssign for Quantity {
    fn sub_assign(&mut self, other: Self) {
        if self.is_zero() {
            self.format = other.format;
        }
        self.nanos = self.nanos.saturating_sub(other.nanos);
    }
}

/// The canonical form: no fraction, the largest suffix that keeps the number whole.
impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nanos == 0 {
            return f.write_str("0");
        }
        let units = self.nanos / NANOS;
        if self.format != Format::BinarySi || !self.is_integer() || units.abs() < 1024 {
            return self.write_decimal(f, self.format);
        }
        let mut mantissa = units;
        let mut suffix = "";
        for (name, _) in BINARY {
            if mantissa % 1024 != 0 {
                break;
            }
            mantissa /= 1024;
            suffix = name;
        }
        write!(f, "{mantissa}{suffix}")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(text: &str, canonical: &str) {
        let quantity = Quantity::parse(text).expect("the text is a quantity");
        assert_eq!(quantity.to_string(), canonical, "canonical form of {text}");
        assert_eq!(Quantity::parse(canonical), Ok(quantity), "{canonical} reads as the same amount as {text}");
    }

    #[test]
    fn the_canonical_form_has_no_fraction_and_the_largest_suffix() {
        for (text, canonical) in [
            ("0", "0"),
            ("0.5", "500m"),
            ("2000m", "2"),
            ("1024Ki", "1Mi"),
            ("1.5Gi", "1536Mi"),
            ("1048576", "1048576"),
            ("100", "100"),
            ("1000", "1k"),
            ("1000Ki", "1000Ki"),
            ("1023", "1023"),
            ("0.5Mi", "512Ki"),
            ("0.1Ki", "102400m"),
            ("1e3", "1e3"),
            ("1E3", "1e3"),
            ("1500e-3", "1500e-3"),
            ("5e0", "5"),
            ("1E", "1E"),
            ("8Ei", "8Ei"),
            ("-1", "-1"),
            ("-1Gi", "-1Gi"),
            ("+3", "3"),
            (".5", "500m"),
            ("5.", "5"),
            ("0.0000000001", "1n"),
            ("0.1n", "1n"),
            ("00100m", "100m"),
            ("12345678901234567890123456789012345678901", "9223372036854775807"),
            ("10E", "10E"),
            ("500Mi", "500Mi"),
            ("1Ki", "1Ki"),
        ] {
            check(text, canonical);
        }
    }

    #[test]
    fn what_is_no_quantity_is_refused() {
        for text in ["", "-", ".", "m", "Gi"] {
            assert_eq!(Quantity::parse(text), Err(QuantityError::Format), "{text:?}");
        }
        for text in ["1Kii", "1K", "1mm", "1e", "1x3", "1i"] {
            assert!(Quantity::parse(text).is_err(), "{text:?}");
        }
        for text in ["1 Gi", " 1", "1 ", "1..2", "1,5", "0x10", "1e3.5"] {
            assert!(Quantity::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn values_round_away_from_zero() {
        let milli = |text: &str| Quantity::parse(text).expect("the text is a quantity");
        assert_eq!((milli("1500m").value(), milli("-1500m").value()), (2, -2));
        assert_eq!((milli("1u").milli_value(), milli("250m").milli_value()), (1, 250));
        assert_eq!(milli("100E").value(), i64::MAX);
    }

    #[test]
    fn a_sum_takes_the_format_of_its_first_part() {
        let mut sum = Quantity::ZERO;
        sum += Quantity::parse("512Mi").expect("the text is a quantity");
        sum += Quantity::parse("512Mi").expect("the text is a quantity");
        assert_eq!(sum.to_string(), "1Gi");
        sum -= Quantity::parse("1Ki").expect("the text is a quantity");
        assert_eq!(sum.to_string(), "1048575Ki");
    }

    proptest! {
        #[test]
        fn printing_and_reading_keeps_the_amount(number in -1_000_000_000_i64..1_000_000_000, fraction in 0_u32..1_000_000_000,
                suffix in prop::sample::select(vec!["n", "u", "m", "", "k", "M", "G", "Ki", "Mi", "Gi", "e3", "e-3"])) {
            let quantity = Quantity::parse(&format!("{number}.{fraction}{suffix}")).expect("the text is a quantity");
            let canonical = quantity.to_string();
            let again = Quantity::parse(&canonical).expect("the canonical form is a quantity");
            prop_assert_eq!(again, quantity);
            prop_assert_eq!(again.to_string(), canonical);
        }

        #[test]
        fn order_is_that_of_the_numbers(a in any::<i32>(), b in any::<i32>()) {
            let (x, y) = (Quantity::from_milli(i64::from(a), Format::DecimalSi), Quantity::from_milli(i64::from(b), Format::BinarySi));
            prop_assert_eq!(x.cmp(&y), a.cmp(&b));
        }

        #[test]
        fn parsing_never_panics(text in "[-+]?[0-9]{0,50}[.]?[0-9]{0,50}[a-zA-Z]{0,3}[-+]?[0-9]{0,12}") {
            let _ = Quantity::parse(&text);
        }
    }
}
