//! Small languages: quantities, selectors, field paths, managed fields.

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::{Value, json};
use skiff_api::managed::{Element, Set};
use skiff_api::quantity::Quantity;
use skiff_api::selector::{FieldSelector, LabelSelector};

/// Any JSON, small.
fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[.fkvi:{}\"a0=-]{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map("[.fkvi:{}\"a0=-]{0,8}", inner, 0..4)
                .prop_map(|map| map.into_iter().collect::<serde_json::Map<_, _>>().into()),
        ]
    })
}

proptest! {
    #![proptest_config(crate::cases(256))]

    #[test]
    fn a_quantity_is_printed_in_the_form_in_which_it_is_read(text in "[-+]?[0-9]{1,30}([.][0-9]{0,12})?([munkMGTPE]|[KMGTPE]i|[eE][-+]?[0-9]{1,2})?") {
        in_time!();
        if let Ok(quantity) = text.parse::<Quantity>() {
            let printed = quantity.to_string();
            let again: Quantity = printed.parse().expect("what is printed can be read");
            prop_assert_eq!(again.to_string(), printed);
        }
    }

    #[test]
    fn arbitrary_texts_do_no_harm(text in any::<String>()) {
        in_time!();
        let _ = text.parse::<Quantity>();
        let _ = LabelSelector::parse(&text);
        let _ = FieldSelector::parse(&text);
        let _ = Element::parse(&text);
        let _ = Element::parse(&format!("k:{text}"));
        let _ = Element::parse(&format!("v:{text}"));
    }

    #[test]
    fn a_label_selector_is_printed_in_the_form_in_which_it_is_read(text in "(!?[ab])(=|==|!=| in | notin |>|<)?[(]?[ab,01]{0,4}[)]?(,[abc]=[01])?") {
        in_time!();
        if let Ok(selector) = LabelSelector::parse(&text) {
            prop_assert_eq!(LabelSelector::parse(&selector.to_string()), Ok(selector));
        }
    }

    #[test]
    fn a_field_selector_is_printed_in_the_form_in_which_it_is_read(text in "[a.]{1,5}(=|==|!=)[a,=\\\\]{0,5}(,[a.]{1,3}=[a]{0,2})?") {
        in_time!();
        if let Ok(selector) = FieldSelector::parse(&text) {
            // Terms are sorted as they are written, `==` before `=`, so that their order may be another one then.
            let terms = |selector: &FieldSelector| {
                let terms = selector.terms().iter().map(|term| (term.field.clone(), term.value.clone(), term.equal));
                terms.collect::<BTreeSet<_>>()
            };
            let again = FieldSelector::parse(&selector.to_string());
            prop_assert_eq!(again.as_ref().map(terms), Ok(terms(&selector)));
        }
    }

    #[test]
    fn managed_fields_are_read_or_refused(fields in json()) {
        in_time!();
        if let Some(set) = Set::decode(&fields) {
            prop_assert_eq!(Set::decode(&set.encode()), Some(set));
        }
    }
}

#[test]
fn a_set_of_deep_fields_is_read() {
    let mut fields = json!({});
    for _ in 0..100 {
        fields = json!({"f:a": fields});
    }
    assert!(Set::decode(&fields).is_some());
}
