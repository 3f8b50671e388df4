//! The resolver's configuration of a pod. Docker would mix its own words into what it is given, so the file that it made
//! is written anew; the containers that join the sandbox share it.

use std::fmt::Write;
use std::path::Path;

use cri::DnsConfig;

/// Writes the file, in place: it is mounted already.
pub(super) fn write(path: &Path, dns: &DnsConfig) -> std::io::Result<()> {
    std::fs::write(path, text(dns))
}

fn text(dns: &DnsConfig) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    for server in &dns.servers {
        let _ = writeln!(text, "nameserver {server}");
    }
    for (word, values) in [("search", &dns.searches), ("options", &dns.options)] {
        if !values.is_empty() {
            let _ = writeln!(text, "{word} {}", values.join(" "));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_says_what_the_pod_wants() {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let dns = DnsConfig {
            servers: words(&["10.43.0.10", "10.43.0.11"]),
            searches: words(&["a.svc.cluster.local", "svc.cluster.local"]),
            options: words(&["ndots:5"]),
        };
        let expected = "nameserver 10.43.0.10\nnameserver 10.43.0.11\nsearch a.svc.cluster.local svc.cluster.local\n\
                        options ndots:5\n";
        assert_eq!(text(&dns), expected);
        assert_eq!(text(&DnsConfig::default()), "");
    }
}
