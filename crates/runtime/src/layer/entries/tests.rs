//! Archives as several programs write them, and as nobody should.

use tar::{Builder, EntryType, Header};

use super::*;

fn read_all(bytes: &[u8]) -> io::Result<Vec<(Item, Vec<u8>)>> {
    let mut entries = Entries::new(bytes);
    let mut found = Vec::new();
    while let Some(item) = entries.next()? {
        let mut content = Vec::new();
        entries.read_to_end(&mut content)?;
        found.push((item, content));
    }
    Ok(found)
}

/// An entry of any kind, with its content in whole blocks.
fn entry(kind: u8, name: &str, size: u64, content: &[u8]) -> Vec<u8> {
    let mut header = Header::new_gnu();
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.set_entry_type(EntryType::new(kind));
    header.set_mode(0o640);
    header.set_uid(1);
    header.set_gid(2);
    header.set_mtime(3);
    header.set_size(size);
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend_from_slice(content);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

fn pax(records: &[(&str, &str)]) -> Vec<u8> {
    let mut content = String::new();
    for (key, value) in records {
        let rest = key.len() + value.len() + 3;
        let length = (1..=6).map(|digits| rest + digits).find(|length| length.to_string().len() + rest == *length);
        content.push_str(&format!("{} {key}={value}\n", length.expect("a length")));
    }
    entry(b'x', "pax", content.len() as u64, content.as_bytes())
}

#[test]
fn long_names_and_attributes_come_from_all_formats() {
    let long = format!("{}/file", "d".repeat(300));
    let mut archive = Builder::new(Vec::new());
    let mut header = Header::new_gnu();
    header.set_size(3);
    archive.append_data(&mut header, &long, &b"abc"[..]).expect("appended");
    let mut bytes = archive.into_inner().expect("finished");
    bytes.truncate(bytes.len() - 1024);
    bytes.extend(pax(&[("path", &long), ("uid", "4000000000"), ("mtime", "5.25"), ("SCHILY.xattr.user.a", "b=c")]));
    bytes.extend(entry(b'0', "short", 2, b"xy"));
    bytes.extend(entry(b'5', "dir/", 0, b""));
    let found = read_all(&bytes).expect("read");
    assert_eq!(
        found.iter().map(|(item, _)| item.path.display().to_string()).collect::<Vec<_>>(),
        [&long, &long, "dir/"]
    );
    assert_eq!((found[0].1.as_slice(), found[1].1.as_slice()), (&b"abc"[..], &b"xy"[..]));
    let second = &found[1].0;
    assert_eq!((second.uid, second.gid, second.mode, second.mtime), (4_000_000_000, 2, 0o640, (5, 250_000_000)));
    assert_eq!(second.xattrs, [("user.a".to_owned(), b"b=c".to_vec())]);
    assert_eq!(found[2].0.mtime, (3, 0));
}

#[test]
fn a_size_in_an_extension_is_the_one_that_counts() {
    let mut bytes = pax(&[("size", "600")]);
    bytes.extend(entry(b'0', "a", 0, &[b'x'; 600]));
    bytes.extend(entry(b'0', "b", 1, b"y"));
    let found = read_all(&bytes).expect("read");
    assert_eq!(found.iter().map(|(_, content)| content.len()).collect::<Vec<_>>(), [600, 1]);
    // A link has no content, whatever its size says.
    let mut bytes = entry(b'2', "link", 600, b"");
    bytes.extend(entry(b'0', "b", 1, b"y"));
    assert_eq!(read_all(&bytes).expect("read").len(), 2);
}

#[test]
fn sparse_files_have_maps_in_four_formats() {
    let segments = [Segment { offset: 512, length: 3 }, Segment { offset: 4096, length: 2 }];
    let base = [("GNU.sparse.name", "real"), ("GNU.sparse.realsize", "9000")];
    let check = |bytes: &[u8], name: &str| {
        let found = read_all(bytes).expect("read");
        let (item, content) = &found[0];
        assert_eq!((item.path.to_str(), item.size, content.as_slice()), (Some(name), 9000, &b"abcde"[..]));
        assert_eq!(item.segments.as_deref(), Some(&segments[..]));
        assert_eq!(found.len(), 1);
    };
    let mut bytes = pax(&[&base[..], &[("GNU.sparse.map", "512,3,4096,2")]].concat());
    bytes.extend(entry(b'0', "made-up", 5, b"abcde"));
    check(&bytes, "real");
    let offsets = [
        ("GNU.sparse.size", "9000"),
        ("GNU.sparse.offset", "512"),
        ("GNU.sparse.numbytes", "3"),
        ("GNU.sparse.offset", "4096"),
        ("GNU.sparse.numbytes", "2"),
    ];
    let mut bytes = pax(&offsets);
    bytes.extend(entry(b'0', "plain", 5, b"abcde"));
    check(&bytes, "plain");
    let mut content = b"2\n512\n3\n4096\n2\n".to_vec();
    content.resize(512, 0);
    content.extend_from_slice(b"abcde");
    let mut bytes = pax(&[&base[..], &[("GNU.sparse.major", "1"), ("GNU.sparse.minor", "0")]].concat());
    bytes.extend(entry(b'0', "made-up", content.len() as u64, &content));
    check(&bytes, "real");
    let mut bytes = entry(b'S', "old", 5, b"abcde");
    let mut header = Header::new_gnu();
    header.as_mut_bytes().copy_from_slice(&bytes[..512]);
    let gnu = header.as_gnu_mut().expect("GNU's format");
    gnu.set_real_size(9000);
    for (entry, segment) in gnu.sparse.iter_mut().zip(segments) {
        entry.set_offset(segment.offset);
        entry.set_length(segment.length);
    }
    header.set_cksum();
    bytes[..512].copy_from_slice(header.as_bytes());
    check(&bytes, "old");
}

#[test]
fn archives_that_lie_are_refused() {
    let long = [b'n'; 64];
    let mut wrong_sum = entry(b'0', "a", 1, b"x");
    wrong_sum[0] = b'z';
    let mut overlapping = pax(&[("GNU.sparse.size", "100"), ("GNU.sparse.map", "0,4,2,4")]);
    overlapping.extend(entry(b'0', "a", 8, b"abcdefgh"));
    let mut beyond = pax(&[("GNU.sparse.size", "3"), ("GNU.sparse.map", "0,8")]);
    beyond.extend(entry(b'0', "a", 8, b"abcdefgh"));
    let attribute = pax(&[("SCHILY.xattr.user.a", &"x".repeat(300_000))]);
    let mut without_end = attribute.repeat(4);
    without_end.extend(entry(b'0', "a", 1, b"x"));
    for (what, bytes) in [
        ("attributes in many headers", without_end),
        ("a name of two gigabytes", entry(b'L', "././@LongLink", 2 << 30, &long)),
        ("attributes of two gigabytes", entry(b'x', "pax", 2 << 30, &long)),
        ("a wrong checksum", wrong_sum),
        ("an end in a header", entry(b'0', "a", 1, b"x")[..100].to_vec()),
        ("an end in the content", entry(b'0', "a", 2000, b"x")),
        ("pieces that overlap", overlapping),
        ("pieces beyond the end", beyond),
    ] {
        assert!(read_all(&bytes).is_err(), "{what}");
    }
}
