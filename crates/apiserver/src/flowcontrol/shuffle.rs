//! Shuffle sharding: a flow is dealt a hand of queues, so that a flood fills few queues of others.

use sha2::{Digest, Sha256};

/// The hash by which a flow is dealt its hand.
pub(super) fn hash_flow(schema: &str, distinguisher: &str) -> u64 {
    let mut hash = Sha256::new();
    hash.update(schema);
    // The end of the name, so that no two flows are written in one way.
    hash.update([0]);
    hash.update(distinguisher);
    let digest = hash.finalize();
    digest.iter().take(8).rev().fold(0, |value, byte| (value << 8) | u64::from(*byte))
}

/// The largest hand; validation bounds what a hash can deal.
const MAX_HAND: usize = 60;

/// Calls `each` with the cards of a hand: different numbers below `deck`, the same for the same hash.
pub(super) fn deal(hash: u64, deck: usize, hand: usize, mut each: impl FnMut(usize)) {
    let (mut rest, mut dealt, mut count) = (hash, [0_usize; MAX_HAND], 0);
    for left in (1..=deck).rev().take(hand.min(MAX_HAND)) {
        let place = rest % left as u64;
        rest /= left as u64;
        // The place among the cards that are left, counted over those that are gone, which are kept in order.
        let mut card = usize::try_from(place).unwrap_or(0);
        let mut at = 0;
        while at < count && dealt[at] <= card {
            card += 1;
            at += 1;
        }
        dealt.copy_within(at..count, at + 1);
        dealt[at] = card;
        count += 1;
        each(card);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hand(hash: u64, deck: usize, size: usize) -> Vec<usize> {
        let mut cards = Vec::new();
        deal(hash, deck, size, |card| cards.push(card));
        cards
    }

    proptest! {
        #[test]
        fn hands_have_different_cards_of_the_deck(hash: u64, deck in 1..300_usize, size in 1..12_usize) {
            let cards = hand(hash, deck, size);
            prop_assert_eq!(cards.len(), size.min(deck));
            let mut sorted = cards.clone();
            sorted.sort_unstable();
            sorted.dedup();
            prop_assert_eq!(sorted.len(), cards.len());
            prop_assert!(cards.iter().all(|card| *card < deck));
            prop_assert_eq!(cards, hand(hash, deck, size));
        }
    }

    #[test]
    fn every_queue_is_dealt_about_as_often() {
        let mut counts = [0_u32; 16];
        for flow in 0..4000 {
            deal(hash_flow("schema", &format!("user-{flow}")), 16, 4, |card| counts[card] += 1);
        }
        assert!(counts.iter().all(|count| (850..1150).contains(count)), "{counts:?}");
    }

    #[test]
    fn flows_of_different_schemas_differ() {
        assert_ne!(hash_flow("a", "bc"), hash_flow("ab", "c"));
    }
}
