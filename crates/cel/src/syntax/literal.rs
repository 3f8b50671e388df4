//! The values of number and string literals.

use super::ast::Literal;
use super::lexer::{Kind, Token};

/// The value of a literal token; `negative` where a minus stands before it.
pub(super) fn value(token: &Token, negative: bool) -> Result<Literal, &'static str> {
    let sign = if negative { "-" } else { "" };
    match token.kind {
        Kind::Int => integer(&token.text, negative).map(Literal::Int).ok_or("invalid int literal"),
        Kind::Uint => unsigned(&token.text[..token.text.len() - 1]).map(Literal::Uint).ok_or("invalid uint literal"),
        Kind::Float => {
            let parsed = format!("{sign}{}", token.text).parse::<f64>().ok().filter(|value| value.is_finite());
            parsed.map(Literal::Double).ok_or("invalid double literal")
        }
        Kind::String => {
            let bytes = unquote(&token.text, false).ok_or("invalid string literal")?;
            let text = String::from_utf8(bytes).map_err(|_| "invalid string literal")?;
            Ok(Literal::String(text.into()))
        }
        _ => unquote(&token.text, true).map(|bytes| Literal::Bytes(bytes.into())).ok_or("invalid bytes literal"),
    }
}

fn unsigned(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}

fn integer(text: &str, negative: bool) -> Option<i64> {
    let magnitude = i128::from(unsigned(text)?);
    i64::try_from(if negative { -magnitude } else { magnitude }).ok()
}

/// The content of a string (as UTF-8) or bytes literal.
fn unquote(text: &str, bytes: bool) -> Option<Vec<u8>> {
    let quote_at = text.find(['"', '\''])?;
    let raw = text[..quote_at].contains(['r', 'R']);
    let body = &text[quote_at..];
    let width = if body.len() >= 6 && (body.starts_with("\"\"\"") || body.starts_with("'''")) { 3 } else { 1 };
    let body = &body[width..body.len() - width];
    if raw {
        return Some(body.as_bytes().to_vec());
    }
    let mut out = Vec::with_capacity(body.len());
    let mut chars = body.chars();
    while let Some(c) = chars.next() {
        if c == '\\' {
            escape(&mut chars, &mut out, bytes)?;
        } else if c == '\r' && width == 3 {
            // Line ends are one character, as in cel-go.
            out.push(b'\n');
            if chars.clone().next() == Some('\n') {
                chars.next();
            }
        } else {
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }
    Some(out)
}

fn escape(chars: &mut std::str::Chars<'_>, out: &mut Vec<u8>, bytes: bool) -> Option<()> {
    let simple = match chars.next()? {
        'a' => 7,
        'b' => 8,
        'f' => 12,
        'n' => b'\n',
        'r' => b'\r',
        't' => b'\t',
        'v' => 11,
        c @ ('\\' | '\'' | '"' | '`' | '?') => c as u8,
        'x' | 'X' => return number(chars, out, 2, 16, bytes, 0),
        'u' if !bytes => return number(chars, out, 4, 16, bytes, 0),
        'U' if !bytes => return number(chars, out, 8, 16, bytes, 0),
        c @ '0'..='3' => return number(chars, out, 2, 8, bytes, c as u32 - '0' as u32),
        _ => return None,
    };
    out.push(simple);
    Some(())
}

fn number(
    chars: &mut std::str::Chars<'_>,
    out: &mut Vec<u8>,
    digits: usize,
    radix: u32,
    bytes: bool,
    first: u32,
) -> Option<()> {
    let mut code = first;
    for _ in 0..digits {
        code = code.checked_mul(radix)?.checked_add(chars.next()?.to_digit(radix)?)?;
    }
    if bytes {
        out.push(u8::try_from(code).ok()?);
    } else {
        out.extend_from_slice(char::from_u32(code)?.encode_utf8(&mut [0; 4]).as_bytes());
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(kind: Kind, text: &str, expected: Option<Literal>) {
        let token = Token { kind, start: 0, text: text.to_owned() };
        assert_eq!(value(&token, false).ok(), expected, "{text}");
    }

    #[test]
    fn strings_lose_quotes_and_escapes() {
        check(Kind::String, r#"'a\n\'\x41\u00e9\U0001F600\101'"#, Some(Literal::String("a\n'Aé😀A".into())));
        check(Kind::String, r"r'\d'", Some(Literal::String("\\d".into())));
        check(Kind::String, "'''a'b'''", Some(Literal::String("a'b".into())));
        check(Kind::String, "''", Some(Literal::String("".into())));
        check(Kind::String, r"'\q'", None);
        check(Kind::String, r"'\ud800'", None);
        check(Kind::Bytes, r"b'\xff\377é'", Some(Literal::Bytes(vec![255, 255, 0xc3, 0xa9].into())));
    }

    #[test]
    fn numbers_have_a_range() {
        check(Kind::Int, "0x1F", Some(Literal::Int(31)));
        check(Kind::Int, "9223372036854775808", None);
        check(Kind::Uint, "18446744073709551615u", Some(Literal::Uint(u64::MAX)));
        check(Kind::Float, "1e3", Some(Literal::Double(1000.0)));
        check(Kind::Float, "1e999", None);
    }
}
