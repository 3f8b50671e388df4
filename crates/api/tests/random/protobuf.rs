//! Protobuf: documents come back as they went, others understand them, and nothing that is sent does harm.

use proptest::prelude::*;
use skiff_api::protobuf::{self, ProtobufError};
use skiff_api::schema::JSON_SCHEMA_PROPS;

use crate::documents::document;
use crate::oracle::KINDS;

fn choices() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 0..600)
}

#[test]
fn every_kind_is_known_to_both() {
    let known = |name: &str| KINDS.iter().any(|(known, _)| *known == name);
    for row in skiff_api::kinds::all() {
        assert!(protobuf::has_message(row.schema) && known(row.schema), "{}", row.schema);
    }
}

proptest! {
    #![proptest_config(crate::cases(24))]

    #[test]
    fn every_kind_comes_back_as_it_went(choices in choices()) {
        in_time!();
        for (name, _) in KINDS {
            let document = document(name, &choices);
            let message = protobuf::encode(&document, name);
            let back = protobuf::decode(&message, name);
            prop_assert_eq!(back.as_ref(), Ok(&document), "{}", name);
        }
    }

    #[test]
    fn an_independent_decoder_understands_every_kind(choices in choices()) {
        in_time!();
        for (name, again) in KINDS {
            let message = protobuf::encode(&document(name, &choices), name);
            let theirs = again(&message);
            prop_assert!(theirs.is_ok(), "{}: {:?}", name, theirs);
            // They leave empty keys and values of maps out, which must be all that is lost.
            let theirs = theirs.expect("it was checked");
            prop_assert_eq!(protobuf::decode(&theirs, name), protobuf::decode(&message, name), "{}", name);
            let has_empty_entries = document(name, &choices).to_string().contains(r#""":"#) || theirs.len() < message.len();
            prop_assert!(has_empty_entries || theirs == message, "{}", name);
        }
    }
}

proptest! {
    #![proptest_config(crate::cases(64))]

    #[test]
    fn arbitrary_bytes_are_decoded_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..256)) {
        in_time!();
        for (name, _) in KINDS {
            let _ = protobuf::decode(&bytes, name);
        }
        let _ = protobuf::open(&bytes);
        let _ = protobuf::open(&[b"k8s\0", &bytes[..]].concat());
    }

    #[test]
    fn damaged_messages_are_decoded_or_refused(choices in choices(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        in_time!();
        for (name, _) in KINDS {
            let mut message = protobuf::encode(&document(name, &choices), name);
            if message.is_empty() {
                continue;
            }
            let at = at.index(message.len());
            let cut = message[..at].to_vec();
            let _ = protobuf::decode(&cut, name);
            message[at] = byte;
            let _ = protobuf::decode(&message, name);
        }
    }
}

/// A message in a message, and so on.
fn nested(tag: u8, depth: usize) -> Vec<u8> {
    let mut message = Vec::new();
    for _ in 0..depth {
        let mut outer = Vec::new();
        prost::encoding::encode_key(u32::from(tag), prost::encoding::WireType::LengthDelimited, &mut outer);
        prost::encoding::encode_varint(message.len() as u64, &mut outer);
        outer.extend_from_slice(&message);
        message = outer;
    }
    message
}

#[test]
fn depth_is_bounded() {
    // Tag 28 is `not`, a schema in a schema.
    assert!(protobuf::decode(&nested(28, 100), JSON_SCHEMA_PROPS).is_ok());
    assert_eq!(protobuf::decode(&nested(28, 20_000), JSON_SCHEMA_PROPS), Err(ProtobufError::Depth));
    // Groups nest without messages of their own.
    let groups = vec![0x0b; 1_000_000];
    assert_eq!(protobuf::decode(&groups, JSON_SCHEMA_PROPS), Err(ProtobufError::Truncated));
}
