//! Links in HTML pages. Only the values of attributes that hold links are touched, all else stays byte for byte.

use std::io::{self, Read, Write};

use api::status::Status;
use bytes::{Bytes, BytesMut};
use flate2::Compression;
use flate2::read::{DeflateDecoder, GzDecoder};
use flate2::write::{DeflateEncoder, GzEncoder};
use futures::StreamExt;
use http::header::{CONTENT_ENCODING, HeaderMap};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};

use super::url::Links;
use crate::http::body::{self, Body};

/// Larger pages pass as they are, so that no page fills the memory.
const MAX_PAGE: usize = 16 * 1024 * 1024;

/// Which attributes of which elements hold links.
const LINKS: [(&str, &[&str]); 25] = [
    ("a", &["href"]),
    ("applet", &["codebase"]),
    ("area", &["href"]),
    ("audio", &["src"]),
    ("base", &["href"]),
    ("blockquote", &["cite"]),
    ("body", &["background"]),
    ("button", &["formaction"]),
    ("command", &["icon"]),
    ("del", &["cite"]),
    ("embed", &["src"]),
    ("form", &["action"]),
    ("frame", &["longdesc", "src"]),
    ("head", &["profile"]),
    ("html", &["manifest"]),
    ("iframe", &["longdesc", "src"]),
    ("img", &["longdesc", "src", "usemap"]),
    ("input", &["src", "usemap", "formaction"]),
    ("ins", &["cite"]),
    ("link", &["href"]),
    ("object", &["classid", "codebase", "data", "usemap"]),
    ("q", &["cite"]),
    ("script", &["src"]),
    ("source", &["src"]),
    ("video", &["poster", "src"]),
];

/// Elements in which nothing is markup.
const RAW: [&str; 8] = ["script", "style", "textarea", "title", "iframe", "noembed", "noframes", "xmp"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    Identity,
    Gzip,
    Deflate,
}

/// The page in a body with its links rewritten; one that is too large, or packed in an unknown way, as it is.
pub(super) async fn rewrite_body(mut body: Body, headers: &HeaderMap, links: &Links<'_>) -> Result<Body, Status> {
    let coding = match headers.get(CONTENT_ENCODING).map(|coding| coding.as_bytes()) {
        None | Some(b"" | b"identity") => Coding::Identity,
        Some(b"gzip") => Coding::Gzip,
        Some(b"deflate") => Coding::Deflate,
        Some(_) => return Ok(body),
    };
    let mut page = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame =
            frame.map_err(|err| Status::service_unavailable(format!("error trying to reach service: {err}")))?;
        page.extend_from_slice(&frame.into_data().unwrap_or_default());
        if page.len() > MAX_PAGE {
            return Ok(chained(page.freeze(), body));
        }
    }
    let page = page.freeze();
    let Some(plain) = unpacked(&page, coding).map_err(Status::internal)? else { return Ok(body::full(page)) };
    let rewritten = rewrite(&plain, links);
    Ok(body::full(packed(&rewritten, coding).map_err(Status::internal)?))
}

fn chained(first: Bytes, rest: Body) -> Body {
    let first = futures::stream::iter([Ok(Frame::data(first))]);
    StreamBody::new(first.chain(rest.into_data_stream().map(|data| data.map(Frame::data)))).boxed_unsync()
}

/// `None` where it is too large.
fn unpacked(page: &Bytes, coding: Coding) -> io::Result<Option<Bytes>> {
    let mut plain = Vec::new();
    let limit = MAX_PAGE as u64 + 1;
    match coding {
        Coding::Identity => return Ok(Some(page.clone())),
        Coding::Gzip => GzDecoder::new(&page[..]).take(limit).read_to_end(&mut plain)?,
        Coding::Deflate => DeflateDecoder::new(&page[..]).take(limit).read_to_end(&mut plain)?,
    };
    Ok((plain.len() <= MAX_PAGE).then_some(plain.into()))
}

fn packed(plain: &[u8], coding: Coding) -> io::Result<Vec<u8>> {
    match coding {
        Coding::Identity => Ok(plain.to_vec()),
        Coding::Gzip => {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(plain)?;
            encoder.finish()
        }
        Coding::Deflate => {
            let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(plain)?;
            encoder.finish()
        }
    }
}

fn holds_link(element: &str, attribute: &str) -> bool {
    let row = LINKS.iter().find(|(name, _)| *name == element);
    row.is_some_and(|(_, attributes)| attributes.contains(&attribute))
}

/// The page with its links rewritten.
fn rewrite(page: &[u8], links: &Links<'_>) -> Vec<u8> {
    let mut out = Vec::with_capacity(page.len() + page.len() / 8);
    let mut left = page;
    while let Some(at) = left.iter().position(|byte| *byte == b'<') {
        let (text, tag) = left.split_at(at);
        out.extend_from_slice(text);
        if tag.starts_with(b"<!--") {
            left = pass(tag, find(&tag[4..], b"-->").map_or(tag.len(), |end| 4 + end + 3), &mut out);
        } else if tag.get(1).is_some_and(u8::is_ascii_alphabetic) {
            let (element, rest) = start_tag(tag, links, &mut out);
            left = if RAW.contains(&element.as_str()) { pass(rest, raw_end(rest, &element), &mut out) } else { rest };
        } else {
            left = pass(tag, 1, &mut out);
        }
    }
    out.extend_from_slice(left);
    out
}

fn pass<'a>(input: &'a [u8], count: usize, out: &mut Vec<u8>) -> &'a [u8] {
    let (passed, left) = input.split_at(count.min(input.len()));
    out.extend_from_slice(passed);
    left
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

/// Where the end tag of a raw element begins.
fn raw_end(input: &[u8], element: &str) -> usize {
    let end = format!("</{element}");
    let found = input.windows(end.len()).position(|window| window.eq_ignore_ascii_case(end.as_bytes()));
    found.unwrap_or(input.len())
}

/// Passes a start tag on; the element's name and what follows the tag.
fn start_tag<'a>(tag: &'a [u8], links: &Links<'_>, out: &mut Vec<u8>) -> (String, &'a [u8]) {
    let name_end = tag[1..].iter().position(|byte| ends_name(*byte)).map_or(tag.len(), |end| end + 1);
    let element = String::from_utf8_lossy(&tag[1..name_end]).to_ascii_lowercase();
    let mut left = pass(tag, name_end, out);
    loop {
        let space = left.iter().position(|byte| !(byte.is_ascii_whitespace() || *byte == b'/')).unwrap_or(left.len());
        left = pass(left, space, out);
        if left.is_empty() {
            return (element, left);
        }
        if left[0] == b'>' {
            return (element, pass(left, 1, out));
        }
        // An attribute's name has one byte at least, whatever that is.
        let end = left[1..].iter().position(|byte| ends_name(*byte) || *byte == b'=').map_or(left.len(), |end| end + 1);
        let attribute = String::from_utf8_lossy(&left[..end]).to_ascii_lowercase();
        left = pass(left, end, out);
        left = value(left, holds_link(&element, &attribute).then_some(links), out);
    }
}

fn ends_name(byte: u8) -> bool {
    byte.is_ascii_whitespace() || matches!(byte, b'/' | b'>')
}

/// Passes an attribute's value on, rewritten where it is a link.
fn value<'a>(input: &'a [u8], links: Option<&Links<'_>>, out: &mut Vec<u8>) -> &'a [u8] {
    let space = |input: &[u8]| input.iter().position(|byte| !byte.is_ascii_whitespace()).unwrap_or(input.len());
    let before = space(input);
    if input.get(before) != Some(&b'=') {
        return input;
    }
    let left = pass(input, before + 1, out);
    let left = pass(left, space(left), out);
    let (left, quote) = match left.first() {
        Some(quote @ (b'"' | b'\'')) => (pass(left, 1, out), Some(*quote)),
        _ => (left, None),
    };
    let end = left.iter().position(|byte| match quote {
        Some(quote) => *byte == quote,
        None => byte.is_ascii_whitespace() || *byte == b'>',
    });
    let (link, left) = left.split_at(end.unwrap_or(left.len()));
    match (links, std::str::from_utf8(link)) {
        (Some(links), Ok(link)) => out.extend_from_slice(links.rewrite(link).as_bytes()),
        _ => out.extend_from_slice(link),
    }
    if quote.is_some() { pass(left, 1, out) } else { left }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROXY: Links<'static> = Links { prefix: "/p", backend: "10.0.0.5:80", host: "api" };

    #[track_caller]
    fn check(page: &str, expected: &str) {
        assert_eq!(String::from_utf8_lossy(&rewrite(page.as_bytes(), &PROXY)), expected);
    }

    #[test]
    fn links_are_rewritten_where_they_are_links() {
        check("<a href=\"/x\">/x</a>", "<a href=\"/p/x\">/x</a>");
        check("<A HREF='/x' title='/y'>", "<A HREF='/p/x' title='/y'>");
        check("<img src=/x.png alt=/y><br/>", "<img src=/p/x.png alt=/y><br/>");
        check("<link rel=stylesheet href = \"/s.css\" />", "<link rel=stylesheet href = \"/p/s.css\" />");
        check("<a href=\"rel\"><a href=\"http://else/x\">", "<a href=\"rel\"><a href=\"http://else/x\">");
        check("<form action='http://10.0.0.5:80/f'>", "<form action='/p/f'>");
        check("<div href=\"/x\">", "<div href=\"/x\">");
    }

    #[test]
    fn what_is_no_markup_stays() {
        for same in [
            "a < b > c",
            "<!-- <a href=\"/x\"> -->",
            "<script>if (a<b) x('<a href=\"/x\">')</script>",
            "<a href=",
            "<",
            "</a href='/x'>",
            "<!DOCTYPE html>",
            "<!--",
        ] {
            check(same, same);
        }
        check("<a href=\"/x", "<a href=\"/p/x");
        check(
            "<script src=\"/x\">'<a href=\"/y\">'</script><a href='/z'>",
            "<script src=\"/p/x\">'<a href=\"/y\">'</script><a href='/p/z'>",
        );
    }

    #[test]
    fn packed_pages_are_unpacked_and_packed_again() {
        for coding in [Coding::Identity, Coding::Gzip, Coding::Deflate] {
            let page = Bytes::from(packed(b"<p>", coding).expect("packed"));
            assert_eq!(unpacked(&page, coding).expect("unpacked"), Some(Bytes::from_static(b"<p>")));
        }
    }
}
