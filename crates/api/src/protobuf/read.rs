//! The primitives of the wire, read.

/// Why bytes cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtobufError {
    /// The magic is missing.
    #[error("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")]
    Magic,
    /// The bytes end within a field.
    #[error("unexpected EOF")]
    Truncated,
    /// A number has more than 64 bits.
    #[error("proto: integer overflow")]
    Overflow,
    /// A field has a tag that no field can have.
    #[error("proto: illegal tag {0} (wire type {1})")]
    Tag(u64, u64),
    /// A field is of a wire type that does not exist.
    #[error("proto: illegal wireType {0}")]
    WireType(u64),
    /// The end of a group that did not begin.
    #[error("proto: unexpected end of group")]
    EndOfGroup,
    /// A field is of another wire type than its own.
    #[error("proto: wrong wireType = {found} for field {field}")]
    FieldType {
        /// The wire type.
        found: u32,
        /// The name of the field.
        field: &'static str,
    },
    /// A name is not text.
    #[error("proto: a name is not valid UTF-8")]
    Text,
    /// Messages within messages without end.
    #[error("proto: a message nests too deeply")]
    Depth,
    /// A quantity cannot be read.
    #[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
    Quantity,
    /// A time is beyond what can be written.
    #[error("proto: a time is out of range")]
    Time,
    /// An embedded document is not JSON.
    #[error("an embedded object is not JSON")]
    Embedded,
}

/// Deeper messages and groups are refused.
pub(super) const MAX_DEPTH: usize = 200;

/// A field of a message as it stands on the wire.
#[derive(Clone, Copy, Debug)]
pub(super) enum Payload<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32,
    Bytes(&'a [u8]),
    /// A group. No message of the API has one, nor a number of four bytes: both are only skipped.
    Group,
}

impl<'a> Payload<'a> {
    fn wire_type(self) -> u32 {
        match self {
            Self::Varint(_) => 0,
            Self::Fixed64(_) => 1,
            Self::Bytes(_) => 2,
            Self::Group => 3,
            Self::Fixed32 => 5,
        }
    }

    /// That the payload is not what a field holds.
    pub(super) fn wrong(self, field: &'static str) -> ProtobufError {
        ProtobufError::FieldType { found: self.wire_type(), field }
    }

    pub(super) fn bytes(self, field: &'static str) -> Result<&'a [u8], ProtobufError> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            other => Err(other.wrong(field)),
        }
    }

    /// Upstream takes any bytes for text and replaces what is none when it writes JSON.
    pub(super) fn text(self, field: &'static str) -> Result<String, ProtobufError> {
        Ok(String::from_utf8_lossy(self.bytes(field)?).into_owned())
    }

    pub(super) fn number(self, field: &'static str) -> Result<i64, ProtobufError> {
        match self {
            Self::Varint(number) => Ok(i64::from_le_bytes(number.to_le_bytes())),
            other => Err(other.wrong(field)),
        }
    }

    pub(super) fn double(self, field: &'static str) -> Result<f64, ProtobufError> {
        match self {
            Self::Fixed64(bits) => Ok(f64::from_bits(bits)),
            other => Err(other.wrong(field)),
        }
    }
}

/// The fields of a message, in order.
pub(super) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(super) fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    fn field(&mut self) -> Result<(u32, Payload<'a>), ProtobufError> {
        let (tag, wire_type) = self.key()?;
        let payload = match wire_type {
            0 => Payload::Varint(varint(&mut self.rest)?),
            1 => Payload::Fixed64(u64::from_le_bytes(array(&mut self.rest)?)),
            2 => {
                let length = usize::try_from(varint(&mut self.rest)?).map_err(|_| ProtobufError::Truncated)?;
                Payload::Bytes(take(&mut self.rest, length)?)
            }
            3 => self.group()?,
            4 => return Err(ProtobufError::EndOfGroup),
            5 => {
                take(&mut self.rest, 4)?;
                Payload::Fixed32
            }
            other => return Err(ProtobufError::WireType(other)),
        };
        Ok((tag, payload))
    }

    fn key(&mut self) -> Result<(u32, u64), ProtobufError> {
        let key = varint(&mut self.rest)?;
        let (tag, wire_type) = (key >> 3, key & 7);
        match u32::try_from(tag) {
            Ok(known) if known > 0 && i32::try_from(known).is_ok() => Ok((known, wire_type)),
            _ => Err(ProtobufError::Tag(tag, wire_type)),
        }
    }

    /// Skips what is in a group, and its end.
    fn group(&mut self) -> Result<Payload<'a>, ProtobufError> {
        let mut depth = 1;
        while depth > 0 {
            match self.key()?.1 {
                0 => drop(varint(&mut self.rest)?),
                1 => drop(take(&mut self.rest, 8)?),
                2 => {
                    let length = usize::try_from(varint(&mut self.rest)?).map_err(|_| ProtobufError::Truncated)?;
                    take(&mut self.rest, length)?;
                }
                3 => depth += 1,
                4 => depth -= 1,
                5 => drop(take(&mut self.rest, 4)?),
                other => return Err(ProtobufError::WireType(other)),
            }
        }
        Ok(Payload::Group)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Payload<'a>), ProtobufError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.rest = b"";
        }
        Some(field)
    }
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Result<&'a [u8], ProtobufError> {
    let (taken, behind) = rest.split_at_checked(length).ok_or(ProtobufError::Truncated)?;
    *rest = behind;
    Ok(taken)
}

fn array<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], ProtobufError> {
    take(rest, N)?.try_into().map_err(|_| ProtobufError::Truncated)
}

pub(super) fn varint(rest: &mut &[u8]) -> Result<u64, ProtobufError> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let byte = take(rest, 1)?[0];
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(ProtobufError::Overflow)
}
