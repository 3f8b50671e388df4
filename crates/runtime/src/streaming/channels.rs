//! Kubernetes' channel subprotocols: the first byte of each message names a stream.

use http::HeaderValue;

/// The streams of a remote command.
pub(super) mod channel {
    pub(in crate::streaming) const STDIN: u8 = 0;
    pub(in crate::streaming) const STDOUT: u8 = 1;
    pub(in crate::streaming) const STDERR: u8 = 2;
    pub(in crate::streaming) const ERROR: u8 = 3;
    pub(in crate::streaming) const RESIZE: u8 = 4;
    /// Says that the stream named by the second byte is closed; since version 5.
    pub(in crate::streaming) const CLOSE: u8 = 255;
}

/// Which version is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    V4,
    V5,
}

/// What is spoken here, best first.
const SPOKEN: &[(&str, Version)] = &[("v5.channel.k8s.io", Version::V5), ("v4.channel.k8s.io", Version::V4)];

impl Version {
    /// The best of those that a client offers, with its name.
    pub(super) fn choose<'a>(offered: impl IntoIterator<Item = &'a HeaderValue>) -> Option<(&'static str, Self)> {
        let values = offered.into_iter().filter_map(|value| value.to_str().ok());
        let offered: Vec<&str> = values.flat_map(|value| value.split(',')).map(str::trim).collect();
        SPOKEN.iter().copied().find(|(name, _)| offered.contains(name))
    }
}

/// What a client says on the channels of a remote command.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Input {
    /// Data for the standard input.
    Stdin(bytes::Bytes),
    /// The standard input is at its end.
    StdinClosed,
    /// The client's terminal has a new size.
    Resize { columns: u16, rows: u16 },
    /// Nothing that matters here.
    Nothing,
}

/// The wire form of a terminal's size.
#[derive(serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Size {
    pub(super) width: u16,
    pub(super) height: u16,
}

impl Input {
    /// Reads one message.
    pub(super) fn parse(mut message: bytes::Bytes, version: Version) -> Self {
        if message.is_empty() {
            return Self::Nothing;
        }
        let payload = message.split_off(1);
        match message[0] {
            channel::STDIN => Self::Stdin(payload),
            channel::RESIZE => match serde_json::from_slice::<Size>(&payload) {
                Ok(Size { width: columns, height: rows }) => Self::Resize { columns, rows },
                Err(_) => Self::Nothing,
            },
            channel::CLOSE if version == Version::V5 && payload.first() == Some(&channel::STDIN) => Self::StdinClosed,
            _ => Self::Nothing,
        }
    }
}

/// A message on `channel`.
pub(super) fn frame(channel: u8, payload: &[u8]) -> bytes::Bytes {
    let mut message = Vec::with_capacity(payload.len() + 1);
    message.push(channel);
    message.extend_from_slice(payload);
    message.into()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[track_caller]
    fn check(message: &'static [u8], version: Version, expected: Input) {
        assert_eq!(Input::parse(Bytes::from_static(message), version), expected);
    }

    #[test]
    fn messages_are_told_apart_by_their_first_byte() {
        check(b"\x00abc", Version::V4, Input::Stdin(Bytes::from_static(b"abc")));
        check(b"\x04{\"Width\":80,\"Height\":24}", Version::V4, Input::Resize { columns: 80, rows: 24 });
        check(b"\x04{", Version::V4, Input::Nothing);
        check(b"\xff\x00", Version::V5, Input::StdinClosed);
        check(b"\xff\x00", Version::V4, Input::Nothing);
        check(b"", Version::V5, Input::Nothing);
    }

    #[test]
    fn the_best_common_version_is_chosen() {
        let header = |text| HeaderValue::from_static(text);
        let both = [header("v4.channel.k8s.io, v5.channel.k8s.io")];
        assert_eq!(Version::choose(&both).map(|(_, version)| version), Some(Version::V5));
        assert_eq!(Version::choose(&[header("v4.channel.k8s.io")]).map(|(_, version)| version), Some(Version::V4));
        assert_eq!(Version::choose(&[header("channel.k8s.io")]), None);
    }
}
