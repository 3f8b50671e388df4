//! Who is connected, and who makes room when there are too many: the fair share of an address is its own, however
//! many connections somebody else opens.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

use base::{Drain, DrainTrigger};

/// The connections that there are, by the address that they come from.
pub struct Crowd {
    limit: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The connections of each address, the oldest first.
    members: HashMap<IpAddr, Vec<Member>>,
    count: usize,
    last: u64,
    /// Whether it was told that there are too many.
    is_told: bool,
}

struct Member {
    number: u64,
    /// Ends the connection when it is dropped.
    _trigger: DrainTrigger,
}

/// A connection's place. It is free again when this is dropped.
pub struct Place {
    crowd: Arc<Crowd>,
    address: IpAddr,
    number: u64,
    evicted: Drain,
}

impl Place {
    /// Completes when the place is another's.
    pub async fn lost(&self) {
        self.evicted.drained().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.crowd.state.lock().unwrap_or_else(PoisonError::into_inner).leave(self.address, self.number);
    }
}

impl Crowd {
    /// So many connections there may be.
    #[must_use]
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, state: Mutex::default() })
    }

    /// A place for a connection from an address. When all are taken, it is the youngest of the address that has the most;
    /// `None` if that would have no more than this one then.
    pub fn join(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let address = network(address);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.count >= self.limit {
            if !state.is_told {
                tracing::warn!(limit = self.limit, "there are too many connections, whoever has the most loses some");
                state.is_told = true;
            }
            let own = state.members.get(&address).map_or(0, Vec::len);
            let (greediest, most) =
                state.members.iter().map(|(of, members)| (*of, members.len())).max_by_key(|of| of.1)?;
            if most <= own + 1 {
                return None;
            }
            let youngest = state.members.get(&greediest)?.last()?.number;
            state.leave(greediest, youngest);
        } else if state.count < self.limit - self.limit / 10 {
            state.is_told = false;
        }
        state.last += 1;
        state.count += 1;
        let (number, (trigger, evicted)) = (state.last, base::drain());
        state.members.entry(address).or_default().push(Member { number, _trigger: trigger });
        drop(state);
        Some(Place { crowd: self.clone(), address, number, evicted })
    }
}

impl State {
    fn leave(&mut self, address: IpAddr, number: u64) {
        let Some(members) = self.members.get_mut(&address) else { return };
        // They are in the order of their numbers.
        let Ok(index) = members.binary_search_by_key(&number, |member| member.number) else { return };
        members.remove(index);
        self.count -= 1;
        if members.is_empty() {
            self.members.remove(&address);
        }
    }
}

/// Whose address it is: one has 2^64 of them in IPv6.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    /// Connects so often from each address; how many connections each has then.
    #[track_caller]
    fn check(limit: usize, comers: &[(&str, usize)], expected: &[(&str, usize)]) {
        let crowd = Crowd::new(limit);
        let mut places = Vec::new();
        for (from, times) in comers {
            places.extend((0..*times).filter_map(|_| crowd.join(address(from))));
        }
        let has_lost = |place: &Place| place.lost().now_or_never().is_some();
        for (from, count) in expected {
            let kept = places.iter().filter(|place| place.address == network(address(from)) && !has_lost(place));
            assert_eq!(kept.count(), *count, "{from}");
        }
        places.clear();
        let state = crowd.state.lock().expect("nothing panicked");
        assert_eq!((state.count, state.members.len()), (0, 0), "all places are free again");
    }

    #[test]
    fn who_has_the_most_makes_room() {
        check(4, &[("10.0.0.1", 3)], &[("10.0.0.1", 3)]);
        check(4, &[("10.0.0.1", 9)], &[("10.0.0.1", 4)]);
        check(4, &[("10.0.0.1", 4), ("10.0.0.2", 1)], &[("10.0.0.1", 3), ("10.0.0.2", 1)]);
        check(4, &[("10.0.0.1", 4), ("10.0.0.2", 4)], &[("10.0.0.1", 2), ("10.0.0.2", 2)]);
        check(
            4,
            &[("10.0.0.2", 1), ("10.0.0.1", 9), ("10.0.0.3", 1)],
            &[("10.0.0.2", 1), ("10.0.0.1", 2), ("10.0.0.3", 1)],
        );
        check(0, &[("10.0.0.1", 1)], &[("10.0.0.1", 0)]);
    }

    #[test]
    fn a_network_of_ipv6_is_one_client() {
        check(4, &[("2001:db8::1", 2), ("2001:db8::2", 2), ("10.0.0.1", 2)], &[("2001:db8::1", 2), ("10.0.0.1", 2)]);
        check(4, &[("::ffff:10.0.0.1", 4), ("10.0.0.1", 2)], &[("10.0.0.1", 4)]);
    }

    #[test]
    fn the_oldest_stay() {
        let crowd = Crowd::new(2);
        let own = [0, 1].map(|_| crowd.join(address("10.0.0.1")).expect("there is room"));
        let other = crowd.join(address("10.0.0.2")).expect("it has its share");
        let lost = |place: &Place| place.lost().now_or_never().is_some();
        assert_eq!((lost(&own[0]), lost(&own[1]), lost(&other)), (false, true, false));
    }
}
