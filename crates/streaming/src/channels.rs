//! Kubernetes' channel subprotocols: the first byte of each message names a stream.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::HeaderValue;
use serde_json::Value;
use tokio_tungstenite::tungstenite::Message;

use super::status::failure;

/// The streams of a remote command.
pub(super) mod channel {
    pub(crate) const STDIN: u8 = 0;
    pub(crate) const STDOUT: u8 = 1;
    pub(crate) const STDERR: u8 = 2;
    pub(crate) const ERROR: u8 = 3;
    pub(crate) const RESIZE: u8 = 4;
    /// Says that the stream named by the second byte is closed; since version 5.
    pub(crate) const CLOSE: u8 = 255;
}

/// How the channels are spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Version {
    /// Messages are text: a digit for the channel, and the payload in base64.
    is_text: bool,
    /// The last word is a `Status`. Before version 4 it is the text of what went wrong, or nothing.
    ends_with_status: bool,
    /// Clients can say that a stream is closed. Since version 5.
    closes: bool,
}

/// What clients speak that name nothing.
const UNNAMED: Version = Version { is_text: false, ends_with_status: false, closes: false };
const V4: Version = Version { ends_with_status: true, ..UNNAMED };

/// What is spoken here, by name.
const SPOKEN: &[(&str, Version)] = &[
    ("v5.channel.k8s.io", Version { closes: true, ..V4 }),
    ("v4.channel.k8s.io", V4),
    ("v4.base64.channel.k8s.io", Version { is_text: true, ..V4 }),
    ("channel.k8s.io", UNNAMED),
    ("base64.channel.k8s.io", Version { is_text: true, ..UNNAMED }),
];

impl Version {
    /// The first of those that a client offers which is spoken here, with its name; a client may offer none at all.
    pub(super) fn choose<'a>(
        offered: impl IntoIterator<Item = &'a HeaderValue>,
    ) -> Option<(Option<&'static str>, Self)> {
        let values = offered.into_iter().filter_map(|value| value.to_str().ok());
        let mut offered = values.flat_map(|value| value.split(',')).map(str::trim).peekable();
        if offered.peek().is_none() {
            return Some((None, UNNAMED));
        }
        let spoken = |offer: &str| SPOKEN.iter().find(|(name, _)| *name == offer);
        offered.find_map(spoken).map(|(name, version)| (Some(*name), *version))
    }

    /// The names of what is spoken.
    pub(super) fn names() -> Vec<&'static str> {
        SPOKEN.iter().map(|(name, _)| *name).collect()
    }

    /// A message on a channel.
    pub(super) fn message(self, channel: u8, payload: &[u8]) -> Message {
        if self.is_text {
            return Message::text(format!("{}{}", char::from(b'0' + channel), BASE64_STANDARD.encode(payload)));
        }
        let mut message = Vec::with_capacity(payload.len() + 1);
        message.push(channel);
        message.extend_from_slice(payload);
        Message::binary(message)
    }

    /// The channel and the payload of a message; nothing if it is none.
    pub(super) fn read(self, message: Message) -> Option<(u8, Bytes)> {
        let mut data: Bytes = match message {
            Message::Binary(data) => data,
            Message::Text(text) => Bytes::copy_from_slice(text.as_bytes()),
            _ => return None,
        };
        if data.is_empty() {
            return None;
        }
        let payload = data.split_off(1);
        if self.is_text {
            let channel = data[0].checked_sub(b'0')?;
            return Some((channel, BASE64_STANDARD.decode(&payload).ok()?.into()));
        }
        Some((data[0], payload))
    }

    /// What is said at the end on the channel of errors.
    pub(super) fn last_word(self, status: &Value) -> Option<String> {
        if self.ends_with_status { Some(status.to_string()) } else { failure(status).map(str::to_owned) }
    }
}

/// What a client says on the channels of a remote command.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Input {
    /// Data for the standard input.
    Stdin(Bytes),
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
    pub(super) fn parse(message: Message, version: Version) -> Self {
        let Some((channel, payload)) = version.read(message) else { return Self::Nothing };
        match channel {
            channel::STDIN => Self::Stdin(payload),
            channel::RESIZE => match serde_json::from_slice::<Size>(&payload) {
                Ok(Size { width: columns, height: rows }) => Self::Resize { columns, rows },
                Err(_) => Self::Nothing,
            },
            channel::CLOSE if version.closes && payload.first() == Some(&channel::STDIN) => Self::StdinClosed,
            _ => Self::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn version(offered: &'static str) -> Version {
        let chosen = Version::choose(&[HeaderValue::from_static(offered)]);
        chosen.unwrap_or_else(|| panic!("{offered} is spoken")).1
    }

    #[track_caller]
    fn check(message: Message, name: &'static str, expected: Input) {
        assert_eq!(Input::parse(message, version(name)), expected);
    }

    #[test]
    fn messages_are_told_apart_by_their_first_byte() {
        let (v4, v5) = ("v4.channel.k8s.io", "v5.channel.k8s.io");
        let binary = |data: &'static [u8]| Message::Binary(Bytes::from_static(data));
        check(binary(b"\x00abc"), v4, Input::Stdin(Bytes::from_static(b"abc")));
        check(binary(b"\x04{\"Width\":80,\"Height\":24}"), v4, Input::Resize { columns: 80, rows: 24 });
        check(binary(b"\x04{"), v4, Input::Nothing);
        check(binary(b"\xff\x00"), v5, Input::StdinClosed);
        check(binary(b"\xff\x00"), v4, Input::Nothing);
        check(binary(b""), v5, Input::Nothing);
    }

    #[test]
    fn texts_carry_bytes_in_base64() {
        for name in ["base64.channel.k8s.io", "v4.base64.channel.k8s.io"] {
            check(Message::text("0YWJj"), name, Input::Stdin(Bytes::from_static(b"abc")));
            check(Message::text("0?"), name, Input::Nothing);
            assert_eq!(version(name).message(channel::STDERR, b"abc"), Message::text("2YWJj"));
        }
        let plain = version("channel.k8s.io").message(channel::STDOUT, b"abc");
        assert_eq!(plain, Message::binary(&b"\x01abc"[..]));
    }

    #[test]
    fn the_first_common_version_is_chosen() {
        let chosen = |offered: &'static str| Version::choose(&[HeaderValue::from_static(offered)]);
        let name = |offered| chosen(offered).and_then(|(name, _)| name);
        assert_eq!(name("v9.channel.k8s.io, v4.channel.k8s.io, v5.channel.k8s.io"), Some("v4.channel.k8s.io"));
        assert_eq!(name("base64.channel.k8s.io"), Some("base64.channel.k8s.io"));
        assert_eq!(chosen("v9.channel.k8s.io"), None);
        assert_eq!(Version::choose([]), Some((None, UNNAMED)));
    }

    #[test]
    fn the_end_is_a_status_since_version_4() {
        let failure = json!({"status": "Failure", "message": "it broke"});
        let success = json!({"status": "Success"});
        let new = [&failure, &success].map(|end| version("v4.base64.channel.k8s.io").last_word(end));
        assert_eq!(new, [failure.to_string(), success.to_string()].map(Some));
        let old = [&failure, &success].map(|end| version("channel.k8s.io").last_word(end));
        assert_eq!(old, [Some("it broke".to_owned()), None]);
    }
}
