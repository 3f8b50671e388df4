use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::flowcontrol::estimate::ONE;
use crate::flowcontrol::shuffle::hash_flow;

const QUEUING: Queuing = Queuing { queues: 16, hand: 4, length: 50 };

/// A set over a clock that the test drives; requests are told apart by the flow that they belong to.
struct Simulated {
    set: QueueSet<u32>,
    now: Instant,
    served: BTreeMap<u32, Duration>,
    ends: BinaryHeap<Reverse<(Instant, Id)>>,
    takes: fn(u32) -> Duration,
}

impl Simulated {
    fn new(limit: u32, takes: fn(u32) -> Duration) -> Self {
        let now = Instant::now();
        let set = QueueSet::new(Mode::Queue(QUEUING), limit, now);
        Self { set, now, served: BTreeMap::new(), ends: BinaryHeap::new(), takes }
    }

    fn arrive(&mut self, flow: u32) -> Result<(), Refusal> {
        let hash = || hash_flow("schema", &flow.to_string());
        let mut started = self.set.tick(self.now);
        let arrival = self.set.arrive(self.now, hash, ONE, flow)?;
        started.extend(arrival.others);
        started.extend(arrival.starts.then_some(arrival.id));
        started.into_iter().for_each(|id| self.started(id));
        Ok(())
    }

    fn started(&mut self, id: Id) {
        let flow = *self.set.payload_mut(id).expect("it is there");
        self.ends.push(Reverse((self.now + (self.takes)(flow), id)));
    }

    /// Lets the next request end; its flow.
    fn step(&mut self) -> Option<u32> {
        let Reverse((at, id)) = self.ends.pop()?;
        self.now = at;
        let flow = *self.set.payload_mut(id).expect("it is there");
        *self.served.entry(flow).or_default() += (self.takes)(flow);
        for id in self.set.finish(at, id) {
            self.started(id);
        }
        Some(flow)
    }

    /// Serves for a while; each flow has so many requests in the set all the time.
    fn run(&mut self, flows: &[(u32, usize)], time: Duration) {
        let until = self.now + time;
        for (flow, count) in flows {
            for _ in 0..*count {
                self.arrive(*flow).expect("there is room");
            }
        }
        while self.now < until {
            let Some(flow) = self.step() else { return };
            self.arrive(flow).expect("there is room");
        }
    }
}

fn starts(id: Id) -> Result<Arrival, Refusal> {
    Ok(Arrival { id, starts: true, others: Vec::new() })
}

fn waits(id: Id) -> Result<Arrival, Refusal> {
    Ok(Arrival { id, starts: false, others: Vec::new() })
}

fn even(_: u32) -> Duration {
    Duration::from_millis(10)
}

#[test]
fn a_flood_takes_no_more_than_its_part() {
    let mut simulated = Simulated::new(10, even);
    simulated.run(&[(1, 20), (2, 150)], Duration::from_secs(10));
    let (quiet, flood) = (simulated.served[&1].as_secs_f64(), simulated.served[&2].as_secs_f64());
    // The flood has up to four queues of its hand, the other flow at least one of its own.
    assert!(quiet > flood / 5.0, "{quiet} {flood}");
    assert!(quiet + flood > 95.0, "{quiet} {flood}");
}

#[test]
fn seats_are_shared_by_time_and_not_by_count() {
    // One queue a flow: flows that collide in no queue.
    let takes = |flow| if flow == 1 { Duration::from_millis(50) } else { Duration::from_millis(5) };
    let mut simulated = Simulated::new(4, takes);
    simulated.set.set_mode(Mode::Queue(Queuing { hand: 1, ..QUEUING }));
    let queue = |flow: u32| {
        let mut queue = 0;
        shuffle::deal(hash_flow("schema", &flow.to_string()), 16, 1, |card| queue = card);
        queue
    };
    let other = (2..).find(|flow| queue(*flow) != queue(1)).expect("another queue");
    simulated.run(&[(1, 20), (other, 20)], Duration::from_secs(20));
    let (long, short) = (simulated.served[&1].as_secs_f64(), simulated.served[&other].as_secs_f64());
    assert!((long / short - 1.0).abs() < 0.05, "{long} {short}");
}

#[test]
fn whoever_was_quiet_does_not_wait_behind_a_flood() {
    let mut simulated = Simulated::new(2, even);
    for _ in 0..100 {
        simulated.arrive(2).expect("there is room");
    }
    for _ in 0..20 {
        simulated.step();
    }
    simulated.arrive(1).expect("there is room");
    let position = (0..).find(|_| simulated.step() == Some(1)).expect("it is served");
    assert!(position < 12, "served after {position} others");
}

#[test]
fn full_queues_turn_away_and_free_seats_do_not() {
    let mut simulated = Simulated::new(1, even);
    let refused = (0..500).filter(|_| simulated.arrive(7) == Err(Refusal::QueueFull)).count();
    assert_eq!(refused, 500 - 1 - QUEUING.hand * QUEUING.length);
    assert_eq!(simulated.set.counts().rejected, refused as u64);
    let now = Instant::now();
    let mut set = QueueSet::new(Mode::Reject, 2, now);
    assert_eq!(set.arrive(now, || 0, ONE, ()), starts(0));
    assert_eq!(set.arrive(now, || 0, ONE, ()), starts(1));
    assert_eq!(set.arrive(now, || 0, ONE, ()), Err(Refusal::ConcurrencyLimit));
    set.finish(now, 0);
    assert_eq!(set.arrive(now, || 0, ONE, ()), starts(0));
    let mut set = QueueSet::new(Mode::Exempt, 0, now);
    assert!((0..100).all(|_| set.arrive(now, || 0, ONE, ()).is_ok_and(|arrival| arrival.starts)));
}

#[test]
fn seats_of_events_are_given_back_later() {
    let now = Instant::now();
    let extra = Duration::from_millis(5);
    let change = Estimate { seats: 1, final_seats: 3, extra };
    let mut set = QueueSet::new(Mode::Queue(QUEUING), 3, now);
    assert_eq!(set.arrive(now, || 1, change, ()), starts(0));
    assert_eq!(set.arrive(now, || 2, ONE, ()), waits(1));
    assert!(set.finish(now, 0).is_empty());
    assert_eq!(set.next_release(), Some(now + extra));
    assert!(set.tick(now + extra / 2).is_empty());
    assert_eq!(set.tick(now + extra), [1]);
    assert_eq!(set.next_release(), None);
}

#[test]
fn what_is_wider_than_the_level_waits_until_it_is_empty() {
    let now = Instant::now();
    let mut set = QueueSet::new(Mode::Queue(QUEUING), 2, now);
    assert_eq!(set.arrive(now, || 1, ONE, ()), starts(0));
    assert_eq!(set.arrive(now, || 2, Estimate { seats: 5, ..ONE }, ()), waits(1));
    assert_eq!(set.finish(now, 0), [1]);
    assert_eq!(set.arrive(now, || 1, ONE, ()), waits(0));
    assert_eq!(set.finish(now, 1), [0]);
}

#[test]
fn whoever_gives_up_leaves_nothing_behind() {
    let now = Instant::now();
    let mut set = QueueSet::new(Mode::Queue(QUEUING), 1, now);
    assert_eq!(set.arrive(now, || 1, ONE, ()), starts(0));
    assert_eq!(set.arrive(now, || 1, ONE, ()), waits(1));
    assert_eq!(set.give_up(now, 1, true), Some(Vec::new()));
    assert_eq!(set.give_up(now, 1, true), None);
    assert_eq!(set.give_up(now, 0, false), None);
    assert!(set.finish(now, 0).is_empty());
    assert_eq!(set.totals(), Totals::default());
    assert_eq!(set.counts(), Counts { dispatched: 1, timed_out: 1, ..Counts::default() });
}

#[test]
fn fewer_queues_keep_what_waits_in_them() {
    let mut simulated = Simulated::new(1, even);
    for flow in 0..40 {
        simulated.arrive(flow).expect("there is room");
    }
    simulated.set.set_mode(Mode::Queue(Queuing { queues: 2, hand: 1, length: 50 }));
    for flow in 40..50 {
        simulated.arrive(flow).expect("there is room");
    }
    let served = std::iter::from_fn(|| simulated.step()).count();
    assert_eq!((served, simulated.set.queues().len()), (50, 2));
}

/// What may happen to a set.
#[derive(Clone, Debug)]
enum Happens {
    Arrives { flow: u32, estimate: Estimate },
    Ends(usize),
    GivesUp(usize),
    Passes(u64),
    Limits(u32),
    Queues(usize),
}

fn happens() -> impl Strategy<Value = Happens> {
    let estimate = (1..4_u32, 0..4_u32, 0..20_u64).prop_map(|(seats, final_seats, extra)| Estimate {
        seats,
        final_seats,
        extra: Duration::from_millis(extra),
    });
    prop_oneof![
        6 => (0..20_u32, estimate).prop_map(|(flow, estimate)| Happens::Arrives { flow, estimate }),
        5 => any::<usize>().prop_map(Happens::Ends),
        1 => any::<usize>().prop_map(Happens::GivesUp),
        3 => (0..30_u64).prop_map(Happens::Passes),
        1 => (1..8_u32).prop_map(Happens::Limits),
        1 => (1..12_usize).prop_map(Happens::Queues),
    ]
}

fn pick(from: &mut Vec<Id>, which: usize) -> Option<Id> {
    (!from.is_empty()).then(|| from.swap_remove(which % from.len()))
}

proptest! {
    /// Work is conserved, seats are never given twice, and what waits is served in the end.
    #[test]
    fn a_set_keeps_its_promises(steps in prop::collection::vec(happens(), 1..200)) {
        let mut now = Instant::now();
        let mut limit = 4;
        let mut set = QueueSet::new(Mode::Queue(Queuing { queues: 8, hand: 3, length: 5 }), limit, now);
        let (mut executing, mut waiting): (Vec<Id>, Vec<Id>) = (Vec::new(), Vec::new());
        for step in steps {
            let started = match step {
                Happens::Arrives { flow, estimate } => {
                    match set.arrive(now, || hash_flow("s", &flow.to_string()), estimate, ()) {
                        Ok(arrival) => {
                            let which = if arrival.starts { &mut executing } else { &mut waiting };
                            which.push(arrival.id);
                            arrival.others
                        }
                        Err(why) => {
                            prop_assert!(why == Refusal::QueueFull && set.totals().seats_in_use >= limit);
                            Vec::new()
                        }
                    }
                }
                Happens::Ends(which) => pick(&mut executing, which).map(|id| set.finish(now, id)).unwrap_or_default(),
                Happens::GivesUp(which) => {
                    pick(&mut waiting, which).map(|id| set.give_up(now, id, false).expect("it waits")).unwrap_or_default()
                }
                Happens::Passes(millis) => {
                    now += Duration::from_millis(millis);
                    set.tick(now)
                }
                Happens::Limits(new) => {
                    limit = new;
                    set.set_limit(now, new)
                }
                Happens::Queues(queues) => {
                    set.set_mode(Mode::Queue(Queuing { queues, hand: 2.min(queues), length: 5 }));
                    Vec::new()
                }
            };
            for id in started {
                waiting.retain(|other| *other != id);
                executing.push(id);
            }
            let totals = set.totals();
            prop_assert_eq!((totals.executing, totals.waiting), (executing.len(), waiting.len()));
            let seats: u32 = set.entries().filter(|(_, e)| e.started.is_some()).map(|(_, e)| e.estimate.most()).sum();
            prop_assert_eq!(totals.seats_in_use, seats);
            let of_queues: u32 = set.queues().iter().map(Queue::seats_in_use).sum();
            prop_assert_eq!(of_queues, seats);
            let active = set.queues().iter().filter(|queue| queue.is_active()).count();
            prop_assert_eq!(totals.active_queues, active);
            if totals.waiting > 0 {
                let next = set.next_queue().expect("something waits");
                prop_assert!(!set.has_room(next.1), "the first could start");
            }
        }
        loop {
            let started = match (executing.pop(), set.next_release()) {
                (Some(id), _) => set.finish(now, id),
                (None, Some(at)) => {
                    now = now.max(at);
                    set.tick(now)
                }
                (None, None) => break,
            };
            waiting.retain(|other| !started.contains(other));
            executing.extend(started);
        }
        prop_assert!(waiting.is_empty(), "{waiting:?} starve");
    }
}
