//! Frames: what travels on the wire, read and written without I/O.
//!
//! | bit 0 | then |
//! | --- | --- |
//! | 1 | version (15 bits), type (16), flags (8), length (24), the type's own fields |
//! | 0 | stream (31 bits), flags (8), length (24), data |

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::headers::{Compressor, Decompressor, Headers, HeadersError};

/// How large a control frame may be. Data frames may be of any size: their content is passed on as it comes.
pub const MAX_CONTROL_FRAME: usize = 64 * 1024;

/// The largest data frame that is written.
pub const MAX_DATA: usize = 32 * 1024;

const VERSION: u16 = 3;
const CONTROL: u16 = 0x8000;
const HEAD: usize = 8;
const STREAM_BITS: u32 = 0x7fff_ffff;

const FLAG_FIN: u8 = 1;
const FLAG_UNIDIRECTIONAL: u8 = 2;

/// The numbers of control frames.
mod kind {
    pub(super) const SYN_STREAM: u16 = 1;
    pub(super) const SYN_REPLY: u16 = 2;
    pub(super) const RST_STREAM: u16 = 3;
    pub(super) const SETTINGS: u16 = 4;
    pub(super) const PING: u16 = 6;
    pub(super) const GOAWAY: u16 = 7;
    pub(super) const HEADERS: u16 = 8;
    pub(super) const WINDOW_UPDATE: u16 = 9;
}

/// Why a stream is reset.
pub mod status {
    /// The peer broke the protocol.
    pub const PROTOCOL_ERROR: u32 = 1;
    /// There is no such stream.
    pub const INVALID_STREAM: u32 = 2;
    /// No further stream is taken.
    pub const REFUSED_STREAM: u32 = 3;
    /// Nobody reads or writes it any more.
    pub const CANCEL: u32 = 5;
}

/// Why a connection goes away.
pub mod goaway {
    /// All was well.
    pub const OK: u32 = 0;
    /// The peer broke the protocol.
    pub const PROTOCOL_ERROR: u32 = 1;
}

/// The setting that says how much may be sent on a new stream.
pub const SETTINGS_INITIAL_WINDOW_SIZE: u32 = 7;

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// Opens a stream.
    SynStream {
        /// The new stream.
        stream: u32,
        /// The stream that it belongs to, or 0.
        associated: u32,
        /// 0 is first.
        priority: u8,
        /// The opener sends nothing more.
        fin: bool,
        /// The other end may send nothing.
        unidirectional: bool,
        /// What the stream is for.
        headers: Headers,
    },
    /// Takes a stream.
    SynReply {
        /// The stream.
        stream: u32,
        /// The sender sends nothing more.
        fin: bool,
        /// An answer.
        headers: Headers,
    },
    /// Ends a stream in both directions.
    RstStream {
        /// The stream.
        stream: u32,
        /// One of [`status`].
        status: u32,
    },
    /// How the sender wants to be treated: pairs of setting and value.
    Settings(Vec<(u32, u32)>),
    /// Asks for the same frame back, or answers such.
    Ping(u32),
    /// No further streams are taken.
    GoAway {
        /// The last stream that was taken.
        last_good: u32,
        /// One of [`goaway`].
        status: u32,
    },
    /// More headers of a stream.
    Headers {
        /// The stream.
        stream: u32,
        /// The sender sends nothing more.
        fin: bool,
        /// The headers.
        headers: Headers,
    },
    /// More may be sent, on a stream or (0) on the connection.
    WindowUpdate {
        /// The stream, or 0.
        stream: u32,
        /// How many bytes more.
        delta: u32,
    },
    /// A piece of a stream's data. A large frame is read as several.
    Data {
        /// The stream.
        stream: u32,
        /// The sender sends nothing more.
        fin: bool,
        /// The bytes.
        data: Bytes,
    },
}

/// Bytes that are no frames.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum FrameError {
    /// Another version of the protocol.
    #[error("version {0} of SPDY is not spoken")]
    Version(u16),
    /// A control frame above [`MAX_CONTROL_FRAME`].
    #[error("control frame of {0} bytes is too large")]
    TooLarge(usize),
    /// Fields do not fit into the frame.
    #[error("frame of type {0} is malformed")]
    Malformed(u16),
    /// The header block cannot be read.
    #[error(transparent)]
    Headers(#[from] HeadersError),
}

/// Writes frames of one direction.
#[derive(Debug, Default)]
pub struct Encoder(Compressor);

impl Encoder {
    /// Appends a frame. Data must not be longer than 24 bits can say.
    pub fn encode(&mut self, frame: &Frame, out: &mut BytesMut) {
        let fin_flag = |fin: bool| if fin { FLAG_FIN } else { 0 };
        match frame {
            Frame::SynStream { stream, associated, priority, fin, unidirectional, headers } => {
                let flags = fin_flag(*fin) | if *unidirectional { FLAG_UNIDIRECTIONAL } else { 0 };
                let block = self.0.compress(headers);
                control(out, kind::SYN_STREAM, flags, 10 + block.len());
                out.put_u32(*stream);
                out.put_u32(*associated);
                out.put_u8(priority << 5);
                out.put_u8(0);
                out.put_slice(&block);
            }
            Frame::SynReply { stream, fin, headers } => {
                self.with_headers(out, kind::SYN_REPLY, *stream, fin_flag(*fin), headers);
            }
            Frame::Headers { stream, fin, headers } => {
                self.with_headers(out, kind::HEADERS, *stream, fin_flag(*fin), headers);
            }
            Frame::RstStream { stream, status } => {
                control(out, kind::RST_STREAM, 0, 8);
                out.put_u32(*stream);
                out.put_u32(*status);
            }
            Frame::Settings(entries) => {
                control(out, kind::SETTINGS, 0, 4 + entries.len() * 8);
                out.put_u32(u32::try_from(entries.len()).unwrap_or(u32::MAX));
                for (id, value) in entries {
                    out.put_u32(*id);
                    out.put_u32(*value);
                }
            }
            Frame::Ping(id) => {
                control(out, kind::PING, 0, 4);
                out.put_u32(*id);
            }
            Frame::GoAway { last_good, status } => {
                control(out, kind::GOAWAY, 0, 8);
                out.put_u32(*last_good);
                out.put_u32(*status);
            }
            Frame::WindowUpdate { stream, delta } => {
                control(out, kind::WINDOW_UPDATE, 0, 8);
                out.put_u32(*stream);
                out.put_u32(*delta);
            }
            Frame::Data { stream, fin, data } => {
                out.put_u32(stream & STREAM_BITS);
                out.put_u8(fin_flag(*fin));
                out.put_uint(data.len() as u64, 3);
                out.put_slice(data);
            }
        }
    }

    fn with_headers(&mut self, out: &mut BytesMut, kind: u16, stream: u32, flags: u8, headers: &Headers) {
        let block = self.0.compress(headers);
        control(out, kind, flags, 4 + block.len());
        out.put_u32(stream);
        out.put_slice(&block);
    }
}

fn control(out: &mut BytesMut, kind: u16, flags: u8, length: usize) {
    out.put_u16(CONTROL | VERSION);
    out.put_u16(kind);
    out.put_u8(flags);
    out.put_uint(length as u64, 3);
}

/// Reads frames of one direction.
#[derive(Debug, Default)]
pub struct Decoder {
    headers: Decompressor,
    /// What is still to come of a data frame.
    data: Option<Pending>,
}

#[derive(Debug)]
struct Pending {
    stream: u32,
    fin: bool,
    left: usize,
}

impl Decoder {
    /// Takes the next frame off the front of `input`; `None` if it is not all there yet. Frames of unknown types are
    /// passed over. After an error the connection cannot go on.
    pub fn decode(&mut self, input: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
        loop {
            if let Some(pending) = &mut self.data {
                let length = pending.left.min(input.len());
                if length == 0 && pending.left > 0 {
                    return Ok(None);
                }
                pending.left -= length;
                let (stream, whole) = (pending.stream, pending.left == 0);
                let fin = whole && pending.fin;
                if whole {
                    self.data = None;
                }
                return Ok(Some(Frame::Data { stream, fin, data: input.split_to(length).freeze() }));
            }
            let Some(mut head) = input.get(..HEAD) else { return Ok(None) };
            let first = head.get_u32();
            let flags = head.get_u8();
            let length = usize::try_from(head.get_uint(3)).unwrap_or(usize::MAX);
            if first & !STREAM_BITS == 0 {
                input.advance(HEAD);
                self.data = Some(Pending { stream: first, fin: flags & FLAG_FIN != 0, left: length });
                continue;
            }
            let version = (first >> 16) as u16 & !CONTROL;
            if version != VERSION {
                return Err(FrameError::Version(version));
            }
            if length > MAX_CONTROL_FRAME {
                return Err(FrameError::TooLarge(length));
            }
            if input.len() < HEAD + length {
                return Ok(None);
            }
            input.advance(HEAD);
            let body = input.split_to(length).freeze();
            let kind = first as u16;
            if let Some(frame) = self.control(kind, flags, body)? {
                return Ok(Some(frame));
            }
        }
    }

    fn control(&mut self, kind: u16, flags: u8, mut body: Bytes) -> Result<Option<Frame>, FrameError> {
        let malformed = |_| FrameError::Malformed(kind);
        let fin = flags & FLAG_FIN != 0;
        let number = |body: &mut Bytes| body.try_get_u32().map_err(malformed);
        let frame = match kind {
            kind::SYN_STREAM => {
                let (stream, associated) = (number(&mut body)?, number(&mut body)?);
                let priority = body.try_get_u8().map_err(malformed)? >> 5;
                body.try_get_u8().map_err(malformed)?;
                Frame::SynStream {
                    stream: stream & STREAM_BITS,
                    associated: associated & STREAM_BITS,
                    priority,
                    fin,
                    unidirectional: flags & FLAG_UNIDIRECTIONAL != 0,
                    headers: self.headers.decompress(&body)?,
                }
            }
            kind::SYN_REPLY | kind::HEADERS => {
                let stream = number(&mut body)? & STREAM_BITS;
                let headers = self.headers.decompress(&body)?;
                match kind {
                    kind::SYN_REPLY => Frame::SynReply { stream, fin, headers },
                    _ => Frame::Headers { stream, fin, headers },
                }
            }
            kind::RST_STREAM => {
                Frame::RstStream { stream: number(&mut body)? & STREAM_BITS, status: number(&mut body)? }
            }
            kind::SETTINGS => {
                let count = number(&mut body)?;
                let mut entries = Vec::new();
                for _ in 0..count {
                    // The first byte has flags.
                    entries.push((number(&mut body)? & 0x00ff_ffff, number(&mut body)?));
                }
                Frame::Settings(entries)
            }
            kind::PING => Frame::Ping(number(&mut body)?),
            kind::GOAWAY => Frame::GoAway { last_good: number(&mut body)? & STREAM_BITS, status: number(&mut body)? },
            kind::WINDOW_UPDATE => Frame::WindowUpdate {
                stream: number(&mut body)? & STREAM_BITS,
                delta: number(&mut body)? & STREAM_BITS,
            },
            _ => return Ok(None),
        };
        Ok(Some(frame))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn headers() -> impl Strategy<Value = Headers> {
        let header = ("[a-z]{1,8}", "[a-zA-Z0-9/=]{0,40}");
        proptest::collection::btree_map(header.0, header.1, 0..4)
            .prop_map(|all| all.into_iter().fold(Headers::new(), |headers, (name, value)| headers.with(&name, value)))
    }

    fn frame() -> impl Strategy<Value = Frame> {
        let stream = 0..=STREAM_BITS;
        prop_oneof![
            (stream.clone(), stream.clone(), 0..8u8, any::<bool>(), any::<bool>(), headers()).prop_map(
                |(stream, associated, priority, fin, unidirectional, headers)| Frame::SynStream {
                    stream,
                    associated,
                    priority,
                    fin,
                    unidirectional,
                    headers
                }
            ),
            (stream.clone(), any::<bool>(), headers()).prop_map(|(stream, fin, headers)| Frame::SynReply {
                stream,
                fin,
                headers
            }),
            (stream.clone(), any::<bool>(), headers()).prop_map(|(stream, fin, headers)| Frame::Headers {
                stream,
                fin,
                headers
            }),
            (stream.clone(), any::<u32>()).prop_map(|(stream, status)| Frame::RstStream { stream, status }),
            proptest::collection::vec((0..0x00ff_ffffu32, any::<u32>()), 0..5).prop_map(Frame::Settings),
            any::<u32>().prop_map(Frame::Ping),
            (stream.clone(), any::<u32>()).prop_map(|(last_good, status)| Frame::GoAway { last_good, status }),
            (stream.clone(), stream.clone()).prop_map(|(stream, delta)| Frame::WindowUpdate { stream, delta }),
            (stream, any::<bool>(), proptest::collection::vec(any::<u8>(), 0..500))
                .prop_map(|(stream, fin, data)| Frame::Data { stream, fin, data: data.into() }),
        ]
    }

    /// Reads everything, with the pieces of a data frame put together again.
    fn decode_all(decoder: &mut Decoder, input: &mut BytesMut, frames: &mut Vec<Frame>) -> Result<(), FrameError> {
        while let Some(frame) = decoder.decode(input)? {
            frames.push(frame);
        }
        Ok(())
    }

    /// Data frames by their content alone: how it was cut does not matter.
    fn joined(frames: Vec<Frame>) -> Vec<Frame> {
        let mut all: Vec<Frame> = Vec::new();
        for frame in frames {
            match (all.last_mut(), frame) {
                (
                    Some(Frame::Data { stream, fin: fin @ false, data }),
                    Frame::Data { stream: same, fin: last, data: more },
                ) if *stream == same => {
                    *data = [&data[..], &more[..]].concat().into();
                    *fin = last;
                }
                (_, frame) => all.push(frame),
            }
        }
        all
    }

    proptest! {
        #[test]
        fn frames_survive_however_they_are_cut(frames in proptest::collection::vec(frame(), 1..8), cut in 1usize..200) {
            let (mut encoder, mut decoder) = (Encoder::default(), Decoder::default());
            let mut wire = BytesMut::new();
            frames.iter().for_each(|frame| encoder.encode(frame, &mut wire));
            let (mut input, mut read) = (BytesMut::new(), Vec::new());
            for piece in wire.chunks(cut) {
                input.extend_from_slice(piece);
                decode_all(&mut decoder, &mut input, &mut read).expect("our own frames");
            }
            prop_assert!(input.is_empty());
            prop_assert_eq!(joined(read), joined(frames));
        }

        #[test]
        fn no_bytes_are_too_odd(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode_all(&mut Decoder::default(), &mut BytesMut::from(&bytes[..]), &mut Vec::new());
        }

        #[test]
        fn no_control_frame_is_too_odd(kind in 0u16..12, flags: u8, body in proptest::collection::vec(any::<u8>(), 0..80)) {
            let mut input = BytesMut::new();
            control(&mut input, kind, flags, body.len());
            input.extend_from_slice(&body);
            let _ = decode_all(&mut Decoder::default(), &mut input, &mut Vec::new());
        }
    }

    #[track_caller]
    fn check(bytes: &[u8], expected: Result<Option<Frame>, FrameError>) {
        assert_eq!(Decoder::default().decode(&mut BytesMut::from(bytes)), expected);
    }

    #[test]
    fn frames_are_as_the_specification_draws_them() {
        check(&[0x80, 3, 0, 6, 0, 0, 0, 4, 0, 0, 0, 5], Ok(Some(Frame::Ping(5))));
        check(
            &[0x80, 3, 0, 9, 0, 0, 0, 8, 0, 0, 0, 1, 0, 0, 1, 0],
            Ok(Some(Frame::WindowUpdate { stream: 1, delta: 256 })),
        );
        check(&[0, 0, 0, 3, 1, 0, 0, 2, 7, 8], Ok(Some(Frame::Data { stream: 3, fin: true, data: vec![7, 8].into() })));
        check(&[0x80, 3, 0, 6, 0, 0, 0, 4, 0, 0], Ok(None));
        check(&[0x80, 2, 0, 6, 0, 0, 0, 4], Err(FrameError::Version(2)));
        check(&[0x80, 3, 0, 1, 0, 1, 0, 1], Err(FrameError::TooLarge(0x1_0001)));
        check(&[0x80, 3, 0, 6, 0, 0, 0, 2, 0, 0], Err(FrameError::Malformed(6)));
    }
}
