//! How long the processes of a cgroup had to wait for CPU, memory and disks.

use cri::{PsiData, PsiStats};

use super::Cgroup;

impl Cgroup {
    /// The pressure on `resource` (`cpu`, `memory` or `io`). Only version 2 counts it, where the kernel does at all.
    pub(crate) fn pressure(&self, resource: &str) -> Option<PsiStats> {
        if !self.hierarchy.is_v2() {
            return None;
        }
        parse(&self.read(resource, &format!("{resource}.pressure"))?)
    }
}

fn parse(text: &str) -> Option<PsiStats> {
    let line = |kind: &str| text.lines().find_map(|line| data(line.strip_prefix(kind)?));
    let (some, full) = (line("some "), line("full "));
    (some.is_some() || full.is_some()).then_some(PsiStats { full, some })
}

fn data(text: &str) -> Option<PsiData> {
    let mut data = PsiData::default();
    for pair in text.split_whitespace() {
        let (name, value) = pair.split_once('=')?;
        match name {
            "avg10" => data.avg10 = value.parse().ok()?,
            "avg60" => data.avg60 = value.parse().ok()?,
            "avg300" => data.avg300 = value.parse().ok()?,
            // The kernel counts microseconds.
            "total" => data.total = value.parse::<u64>().ok()?.saturating_mul(1000),
            _ => {}
        }
    }
    Some(data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pressure_is_read() {
        let text = "some avg10=1.50 avg60=0.25 avg300=0.00 total=12\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=3\n";
        let stats = parse(text).expect("well formed");
        let some = PsiData { avg10: 1.5, avg60: 0.25, avg300: 0.0, total: 12_000 };
        assert_eq!(stats, PsiStats { some: Some(some), full: Some(PsiData { total: 3000, ..Default::default() }) });
        assert_eq!(parse("").map(|stats| stats.some), None);
    }
}
