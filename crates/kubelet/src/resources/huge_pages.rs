//! Huge pages: the names that resources, the runtime and the kernel have for their sizes, and their limits.

use super::amounts::Amounts;

/// The resource of huge pages of so many kilobytes.
pub fn huge_page_resource(kilobytes: u64) -> String {
    match kilobytes {
        size if size >= 1 << 20 => format!("hugepages-{}Gi", size >> 20),
        size if size >= 1 << 10 => format!("hugepages-{}Mi", size >> 10),
        size => format!("hugepages-{size}Ki"),
    }
}

/// The size as the runtime and the kernel name it.
fn size_name(kilobytes: u64) -> String {
    match kilobytes {
        size if size >= 1 << 20 => format!("{}GB", size >> 20),
        size if size >= 1 << 10 => format!("{}MB", size >> 10),
        size => format!("{size}KB"),
    }
}

/// The limits of who asks for these amounts, by name of the size: nobody gets pages that he has not asked for.
pub fn huge_page_limits(asked: &Amounts, kilobytes: impl Iterator<Item = u64>) -> Vec<(String, i64)> {
    kilobytes.map(|size| (size_name(size), asked.get(&huge_page_resource(size)).copied().unwrap_or(0))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_for_pages_of_one_size_gets_none_of_another() {
        let asked = Amounts::from([("hugepages-2Mi".to_owned(), 4 << 20), ("memory".to_owned(), 1)]);
        let limits = huge_page_limits(&asked, [64, 2048, 1 << 20].into_iter());
        let expected = [("64KB", 0), ("2MB", 4 << 20), ("1GB", 0)];
        assert_eq!(limits, expected.map(|(size, limit)| (size.to_owned(), limit)));
    }
}
