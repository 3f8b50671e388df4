//! JSON and YAML: documents come back as they went, and nothing that is sent does harm.

use proptest::prelude::*;
use skiff_api::decode::{self, MediaType};

use crate::documents::document;
use crate::oracle::KINDS;

const CONFIG_MAP: &str = "io.k8s.api.core.v1.ConfigMap";

fn choices() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 0..400)
}

proptest! {
    #![proptest_config(crate::cases(16))]

    #[test]
    fn every_kind_comes_back_as_it_went(choices in choices()) {
        in_time!();
        for (name, _) in KINDS {
            let document = document(name, &choices);
            let json = document.to_string();
            let yaml = serde_saphyr::to_string(&document).expect("it has a YAML form");
            for (text, media) in [(json, MediaType::Json), (yaml, MediaType::Yaml)] {
                let decoded = decode::decode_as(text.as_bytes(), media, name);
                prop_assert!(decoded.is_ok(), "{}: {:?}\n{}", name, decoded, text);
                let mut decoded = decoded.expect("it was checked");
                prop_assert_eq!(&decoded.findings, &Vec::<String>::new(), "{}", name);
                decode::normalize(&mut decoded.value, name);
                prop_assert_eq!(&decoded.value, &document, "{}", name);
            }
        }
    }

    #[test]
    fn damaged_documents_are_decoded_or_refused(choices in choices(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        in_time!();
        for (name, _) in KINDS {
            let mut bytes = document(name, &choices).to_string().into_bytes();
            let at = at.index(bytes.len());
            for media in [MediaType::Json, MediaType::Yaml] {
                let _ = decode::decode_as(&bytes[..at], media, name);
            }
            bytes[at] = byte;
            for media in [MediaType::Json, MediaType::Yaml] {
                let _ = decode::decode_as(&bytes, media, name);
            }
        }
    }
}

proptest! {
    #![proptest_config(crate::cases(256))]

    #[test]
    fn arbitrary_bytes_are_decoded_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        in_time!();
        for media in [MediaType::Json, MediaType::Yaml] {
            let _ = decode::decode(&bytes, media);
            let _ = decode::decode_as(&bytes, media, CONFIG_MAP);
        }
    }

    #[test]
    fn what_looks_like_yaml_is_decoded_or_refused(text in "[-a:{}\\[\\], &*!|>#\"'\n%?]{0,60}") {
        in_time!();
        let _ = decode::decode_as(text.as_bytes(), MediaType::Yaml, CONFIG_MAP);
    }
}

#[track_caller]
fn check_refused(text: &str, media: MediaType) {
    let err = decode::decode_as(text.as_bytes(), media, CONFIG_MAP).expect_err("it is refused");
    assert_eq!(err.code, 400, "{err:?}");
}

#[test]
fn depth_is_bounded() {
    for depth in [10_000, 1_000_000] {
        check_refused(&format!("{}{}", "[".repeat(depth), "]".repeat(depth)), MediaType::Json);
        check_refused(&"{\"a\":".repeat(depth), MediaType::Json);
        check_refused(&"[".repeat(depth), MediaType::Yaml);
    }
    check_refused(&"{a: ".repeat(10_000), MediaType::Yaml);
    let lines: String = (0..2_000).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
    check_refused(&lines, MediaType::Yaml);
}

#[test]
fn aliases_do_not_multiply() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..20 {
        let before = format!("*a{}", level - 1);
        text.push_str(&format!("a{level}: &a{level} [{}]\n", vec![before; 10].join(", ")));
    }
    check_refused(&text, MediaType::Yaml);
}

#[test]
fn many_unknown_fields_are_told_in_a_few_lines() {
    let fields: Vec<String> = (0..100_000).map(|number| format!("\"f{number}\":1")).collect();
    let decoded = decode::decode_as(format!("{{{}}}", fields.join(",")).as_bytes(), MediaType::Json, CONFIG_MAP);
    assert_eq!(decoded.expect("it decodes").findings.len(), 100);
}
