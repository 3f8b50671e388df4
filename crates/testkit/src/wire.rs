//! Messages on the wire.

/// Checks the numbers of the fields that a message has on the wire.
#[track_caller]
pub fn check_wire(message: &[u8], expected: &[u32]) {
    let (mut numbers, mut rest) = (Vec::new(), message);
    while !rest.is_empty() {
        let (number, kind) = prost::encoding::decode_key(&mut rest).expect("well formed");
        numbers.push(number);
        let context = prost::encoding::DecodeContext::default();
        prost::encoding::skip_field(kind, number, &mut rest, context).expect("well formed");
    }
    assert_eq!(numbers, expected);
}
