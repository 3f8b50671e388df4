//! How much work a request is: the seats it takes while it is served, and those that its event takes after it.

use std::time::Duration;

/// Seats of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Estimate {
    /// While it is served.
    pub(super) seats: u32,
    /// Once it is answered, for as long as `extra`: watches are told of the change.
    pub(super) final_seats: u32,
    pub(super) extra: Duration,
}

/// What a request takes that is like most.
pub(super) const ONE: Estimate = Estimate { seats: 1, final_seats: 0, extra: Duration::ZERO };

impl Estimate {
    /// The seats that are kept for it from its start to its end.
    pub(super) fn most(self) -> u32 {
        self.seats.max(self.final_seats)
    }
}

/// Bytes of a list for which it takes a seat, and the bytes beyond which a list from the cache takes no more memory.
const BYTES_PER_SEAT: u64 = 100_000;
const MAX_LIST_BYTES: u64 = 1_000_000;

/// Most seats of a list and of a change.
const MAX_LIST_SEATS: u32 = 100;
const MAX_SEATS: u32 = 10;

/// Watches that are told of a change with one seat, in this time.
const WATCHES_PER_SEAT: usize = 10;
const EVENT_TIME: Duration = Duration::from_millis(5);

/// What is known about the objects of a resource.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stored {
    pub(super) count: u64,
    /// Their size, on average.
    pub(super) bytes: u64,
}

/// A list of at most `limit` objects (0: all). `max_seats` is what one request of the level may take.
pub(super) fn list(stored: Stored, limit: u64, max_seats: u32) -> Estimate {
    let count = if limit == 0 { stored.count } else { limit.min(stored.count) };
    let seats = count.saturating_mul(stored.bytes).min(MAX_LIST_BYTES).div_ceil(BYTES_PER_SEAT);
    let max = max_seats.clamp(1, MAX_LIST_SEATS);
    Estimate { seats: u32::try_from(seats).unwrap_or(max).clamp(1, max), ..ONE }
}

/// A change of a resource that so many watches look at.
pub(super) fn change(watches: usize, max_seats: u32) -> Estimate {
    if watches < WATCHES_PER_SEAT {
        return ONE;
    }
    let wanted = u32::try_from(watches.div_ceil(WATCHES_PER_SEAT)).unwrap_or(u32::MAX);
    let final_seats = wanted.min(max_seats.clamp(1, MAX_SEATS));
    // Fewer seats for a longer time are the same work, and keep less room empty until they are free.
    Estimate { seats: 1, final_seats, extra: EVENT_TIME.mul_f64(f64::from(wanted) / f64::from(final_seats)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_list((count, bytes, limit, max): (u64, u64, u64, u32), seats: u32) {
        assert_eq!(list(Stored { count, bytes }, limit, max), Estimate { seats, ..ONE });
    }

    #[test]
    fn lists_take_seats_by_their_size() {
        check_list((0, 0, 0, 10), 1);
        check_list((10, 2000, 0, 10), 1);
        check_list((100, 2000, 0, 10), 2);
        check_list((10_000, 2000, 0, 50), 10);
        check_list((10_000, 2000, 100, 50), 2);
        check_list((10_000, 2000, 0, 3), 3);
        check_list((10_000, 2000, 0, 0), 1);
    }

    #[test]
    fn changes_take_seats_for_those_who_watch() {
        assert_eq!(change(9, 10), ONE);
        let estimate = |final_seats, micros| Estimate { seats: 1, final_seats, extra: Duration::from_micros(micros) };
        assert_eq!(change(10, 10), estimate(1, 5000));
        assert_eq!(change(95, 10), estimate(10, 5000));
        assert_eq!(change(200, 10), estimate(10, 10_000));
        assert_eq!(change(200, 2), estimate(2, 50_000));
    }
}
