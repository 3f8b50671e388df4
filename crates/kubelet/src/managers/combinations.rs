//! Choices out of a list.

/// Every choice of `size` items, in the order of the list.
pub fn combinations<T: Copy>(items: &[T], size: usize) -> Vec<Vec<T>> {
    let mut found = Vec::new();
    extend(items, size, &mut Vec::new(), &mut found);
    found
}

fn extend<T: Copy>(items: &[T], size: usize, chosen: &mut Vec<T>, found: &mut Vec<Vec<T>>) {
    if size == 0 {
        return found.push(chosen.clone());
    }
    for (index, item) in items.iter().enumerate().take((items.len() + 1).saturating_sub(size)) {
        chosen.push(*item);
        extend(&items[index + 1..], size - 1, chosen, found);
        chosen.pop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_choice_comes_once_and_in_order() {
        assert_eq!(combinations(&[1, 2, 3], 2), [vec![1, 2], vec![1, 3], vec![2, 3]]);
        assert_eq!(combinations(&[1, 2], 0), [Vec::<i32>::new()]);
        assert!(combinations(&[1], 2).is_empty());
    }
}
