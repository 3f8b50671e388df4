//! Tests of the encoding, byte for byte.

use serde_json::json;

use super::*;

const CONFIG_MAP: &str = "io.k8s.api.core.v1.ConfigMap";
const SERVICE: &str = "io.k8s.api.core.v1.Service";

/// A field with text, bytes or a message of less than 128 bytes.
fn field(tag: u8, bytes: &[u8]) -> Vec<u8> {
    let length = u8::try_from(bytes.len()).expect("a short field");
    [&[tag << 3 | 2, length][..], bytes].concat()
}

/// The metadata of an object that has only a name: what Go holds by value is there, if empty.
fn named(name: &[u8]) -> Vec<u8> {
    [
        field(1, name),
        field(2, b""),
        field(3, b""),
        field(4, b""),
        field(5, b""),
        field(6, b""),
        vec![7 << 3, 0],
        field(8, b""),
    ]
    .concat()
}

#[track_caller]
fn check(document: Value, type_name: &str, expected: &[Vec<u8>]) {
    assert_eq!(encode(&document, type_name), expected.concat());
}

#[test]
fn what_go_holds_by_value_is_written_and_what_it_points_to_is_not() {
    check(json!({"metadata": {"name": "a"}}), CONFIG_MAP, &[field(1, &named(b"a"))]);
    check(
        json!({"metadata": {"name": "a"}, "data": {"b": "", "a": "x"}, "binaryData": {"n": "AP8="}, "immutable": false}),
        CONFIG_MAP,
        &[
            field(1, &named(b"a")),
            field(2, &[field(1, b"a"), field(2, b"x")].concat()),
            field(2, &[field(1, b"b"), field(2, b"")].concat()),
            field(3, &[field(1, b"n"), field(2, &[0, 0xff])].concat()),
            vec![4 << 3, 0],
        ],
    );
}

#[test]
fn an_inline_message_is_written_even_when_it_is_empty() {
    check(json!({"name": "v"}), "io.k8s.api.core.v1.Volume", &[field(1, b"v"), field(2, b"")]);
    let empty_dir = field(2, &field(2, &field(1, b"")));
    check(json!({"name": "v", "emptyDir": {}}), "io.k8s.api.core.v1.Volume", &[field(1, b"v"), empty_dir]);
}

#[test]
fn values_that_are_one_in_json_are_messages() {
    let port =
        |target: &[u8]| vec![field(1, b""), field(2, b"TCP"), vec![3 << 3, 80], field(4, target), vec![5 << 3, 0]];
    let by_name = [vec![1 << 3, 1, 2 << 3, 0], field(3, b"web")].concat();
    let by_number = [vec![1 << 3, 0, 2 << 3, 0x90, 0x3f], field(3, b"")].concat();
    let none = [vec![1 << 3, 0, 2 << 3, 0], field(3, b"")].concat();
    let name = "io.k8s.api.core.v1.ServicePort";
    check(json!({"protocol": "TCP", "port": 80, "targetPort": "web"}), name, &port(&by_name));
    check(json!({"protocol": "TCP", "port": 80, "targetPort": 8080}), name, &port(&by_number));
    check(json!({"protocol": "TCP", "port": 80}), name, &port(&none));

    let time = [vec![1 << 3, 0x80, 0xcf, 0xd1, 0xca, 0x06], vec![2 << 3, 0]].concat();
    let lease = json!({"acquireTime": "2025-12-31T00:00:00.000000Z"});
    check(lease, "io.k8s.api.coordination.v1.LeaseSpec", &[field(3, &time)]);
    check(
        json!({"sizeLimit": "1Gi"}),
        "io.k8s.api.core.v1.EmptyDirVolumeSource",
        &[field(1, b""), field(2, &field(1, b"1Gi"))],
    );
    let revision = json!({"metadata": {"name": "r"}, "data": {"a": 1}, "revision": -1});
    check(
        revision,
        "io.k8s.api.apps.v1.ControllerRevision",
        &[field(1, &named(b"r")), field(2, &field(1, br#"{"a":1}"#)), [vec![3 << 3], vec![0xff; 9], vec![1]].concat()],
    );
}

#[test]
fn long_messages_have_long_lengths() {
    for size in [0, 100, 127, 128, 16_000, 20_000, 3_000_000] {
        let document = json!({"metadata": {"name": "a"}, "data": {"k": "x".repeat(size)}});
        let message = encode(&document, CONFIG_MAP);
        let mut expected = document.clone();
        crate::decode::normalize(&mut expected, CONFIG_MAP);
        assert_eq!(decode(&message, CONFIG_MAP), Ok(expected), "{size}");
    }
}

#[test]
fn a_body_says_what_is_in_it() {
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}});
    let body = body(&service, SERVICE);
    let type_meta = [field(1, b"v1"), field(2, b"Service")].concat();
    let message = encode(&service, SERVICE);
    let expected = [MAGIC, &field(1, &type_meta), &field(2, &message), &field(3, b""), &field(4, b"")].concat();
    assert_eq!(body, expected);
    assert_eq!(open(&body), Ok(Envelope { api_version: "v1", kind: "Service", message: &message }));
    assert_eq!(open(b"{}"), Err(ProtobufError::Magic));
    assert_eq!(open(&body[..body.len() - 1]), Err(ProtobufError::Truncated));
}

#[test]
fn a_list_is_put_together_from_its_items() {
    let items: Vec<Vec<u8>> =
        ["a", "b"].iter().map(|name| encode(&json!({"metadata": {"name": name}}), CONFIG_MAP)).collect();
    let metadata = json!({"resourceVersion": "7", "remainingItemCount": 3});
    let list = List::new("v1", "ConfigMapList", &metadata, items.iter().map(Vec::len));
    let mut body = list.head;
    for item in &items {
        body.extend(List::before(item));
        body.extend(item);
    }
    body.extend_from_slice(&list.tail);
    let meta = [field(1, b""), field(2, b"7"), field(3, b""), vec![4 << 3, 3]].concat();
    let message = [field(1, &meta), field(2, &items[0]), field(2, &items[1])].concat();
    assert_eq!(body, wrap("v1", "ConfigMapList", &message));
}

#[test]
fn an_event_of_a_watch_has_its_length_before_it() {
    let event = [field(1, b"ADDED"), field(2, &field(1, b"body"))].concat();
    let length = u32::try_from(event.len()).expect("a short event").to_be_bytes();
    assert_eq!(frame("ADDED", b"body"), [&length[..], &event].concat());
}

#[test]
fn fields_of_other_wire_types_are_refused() {
    let wrong = ProtobufError::FieldType { found: 0, field: "metadata" };
    assert_eq!(decode(&[1 << 3, 1], SERVICE), Err(wrong));
    assert_eq!(decode(&[0], SERVICE), Err(ProtobufError::Tag(0, 0)));
    assert_eq!(decode(&[15 << 3 | 7], SERVICE), Err(ProtobufError::WireType(7)));
    assert_eq!(decode(&[1 << 3 | 2, 5, 0], SERVICE), Err(ProtobufError::Truncated));
    // What is not known is skipped: a number, eight bytes, four bytes, text, a group with a number in it.
    let unknown = [15 << 3, 1, 15 << 3 | 1, 0, 0, 0, 0, 0, 0, 0, 0, 15 << 3 | 5, 0, 0, 0, 0, 15 << 3 | 2, 1, 9];
    let group = [15 << 3 | 3, 1 << 3, 1, 15 << 3 | 4];
    assert_eq!(decode(&[&unknown[..], &group].concat(), SERVICE), decode(b"", SERVICE));
}
