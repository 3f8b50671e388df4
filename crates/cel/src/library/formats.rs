//! Named formats of strings: `format.dns1123Label().validate(text)`.

use api::validation::names;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::civil::Date;

use super::{Row, url};
use crate::cost::Meter;
use crate::error::EvalError;
use crate::value::{Extension, Format, Outcome, Value, parse_rfc3339};

/// Rows for the formats, each under its name in expressions.
macro_rules! formats {
    ($($id:literal, $signature:literal, $name:literal, $shown:literal, $size:literal, $validate:expr;)*) => {
        static FORMATS: &[(&str, Format)] = &[
            $(($name, Format { name: $shown, validate: $validate, max_regex_size: $size }),)*
        ];
        pub(super) const FUNCTIONS: &[Row] = &[
            ("format-named", "format.named(string) -> optional(kubernetes.NamedFormat)", named),
            (
                "format-validate",
                "kubernetes.NamedFormat::validate(string) -> optional(list(string))",
                validate,
            ),
            $(($id, $signature, {
                fn format<'a>(_: &mut Meter<'_>, _: &[Value<'a>]) -> Outcome<'a> {
                    find($name).ok_or(EvalError::NoSuchOverload)
                }
                format
            }),)*
        ];
    };
}

formats! {
    "format.dns1123Label", "format.dns1123Label() -> kubernetes.NamedFormat",
        "dns1123Label", "DNS1123Label", 30, names::dns_label;
    "format.dns1123Subdomain", "format.dns1123Subdomain() -> kubernetes.NamedFormat",
        "dns1123Subdomain", "DNS1123Subdomain", 60, names::dns_subdomain;
    "format.dns1035Label", "format.dns1035Label() -> kubernetes.NamedFormat",
        "dns1035Label", "DNS1035Label", 30, names::dns_1035_label;
    "format.qualifiedName", "format.qualifiedName() -> kubernetes.NamedFormat",
        "qualifiedName", "QualifiedName", 60, names::qualified_name;
    "format.dns1123LabelPrefix", "format.dns1123LabelPrefix() -> kubernetes.NamedFormat",
        "dns1123LabelPrefix", "DNS1123LabelPrefix", 30, |text| names::dns_label(&whole(text));
    "format.dns1123SubdomainPrefix", "format.dns1123SubdomainPrefix() -> kubernetes.NamedFormat",
        "dns1123SubdomainPrefix", "DNS1123SubdomainPrefix", 60, |text| names::dns_subdomain(&whole(text));
    "format.dns1035LabelPrefix", "format.dns1035LabelPrefix() -> kubernetes.NamedFormat",
        "dns1035LabelPrefix", "DNS1035LabelPrefix", 30, |text| names::dns_1035_label(&whole(text));
    "format.labelValue", "format.labelValue() -> kubernetes.NamedFormat",
        "labelValue", "LabelValue", 40, names::label_value;
    "format.uri", "format.uri() -> kubernetes.NamedFormat", "uri", "URI", 1039, |text| url::parse(text).err().into_iter().collect();
    "format.uuid", "format.uuid() -> kubernetes.NamedFormat",
        "uuid", "uuid", 81, |text| unless(is_uuid(text), "does not match the UUID format");
    "format.byte", "format.byte() -> kubernetes.NamedFormat",
        "byte", "byte", 89, |text| unless(!text.is_empty() && STANDARD.decode(text).is_ok(), "invalid base64");
    "format.date", "format.date() -> kubernetes.NamedFormat",
        "date", "date", 96, |text| unless(text.len() == 10 && text.parse::<Date>().is_ok(), "invalid date");
    "format.datetime", "format.datetime() -> kubernetes.NamedFormat",
        "datetime", "datetime", 96, |text| unless(parse_rfc3339(text).is_some(), "invalid datetime");
}

/// A prefix to which a suffix will be added: a dash at its end is no fault.
fn whole(prefix: &str) -> String {
    match prefix.strip_suffix('-') {
        Some(rest) if !rest.is_empty() => format!("{rest}a"),
        _ => prefix.to_owned(),
    }
}

fn unless(valid: bool, message: &str) -> Vec<String> {
    if valid { Vec::new() } else { vec![message.to_owned()] }
}

/// 32 hexadecimal digits, with dashes or without.
fn is_uuid(text: &str) -> bool {
    let mut rest = text;
    for (index, width) in [8, 4, 4, 4, 12].into_iter().enumerate() {
        if index > 0 {
            rest = rest.strip_prefix('-').unwrap_or(rest);
        }
        if !rest.as_bytes().get(..width).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)) {
            return false;
        }
        rest = &rest[width..];
    }
    rest.is_empty()
}

fn find<'a>(name: &str) -> Option<Value<'a>> {
    let found = FORMATS.iter().find(|(known, _)| *known == name);
    found.map(|(_, format)| Value::extension(Extension::Format(format)))
}

fn named<'a>(_: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    let [Value::String(name)] = args else { return Err(EvalError::NoSuchOverload) };
    Ok(find(name).map_or(Value::Optional(None), Value::some))
}

fn validate<'a>(_: &mut Meter<'_>, args: &[Value<'a>]) -> Outcome<'a> {
    let [Value::Extension(extension), Value::String(text)] = args else { return Err(EvalError::NoSuchOverload) };
    let Extension::Format(format) = &**extension else { return Err(EvalError::NoSuchOverload) };
    let messages = (format.validate)(text);
    Ok(if messages.is_empty() { Value::Optional(None) } else { Value::some(Value::texts(messages)) })
}
