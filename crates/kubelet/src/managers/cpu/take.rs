//! Chooses CPUs so that they lie close together: whole sockets and NUMA nodes first, then whole cores, then threads of
//! cores that others use in part.

use super::super::cpuset::CpuSet;
use super::super::machine::{Level, MachineTopology};

/// How CPUs are chosen beside the usual.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Preference {
    /// Threads of different cores rather than whole cores.
    pub spread: bool,
    /// From as few caches as can be.
    pub by_cache: bool,
}

/// Fewer CPUs are free than asked for.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("not enough cpus available to satisfy request: requested={requested}, available={available}")]
pub struct NotEnough {
    requested: usize,
    available: usize,
}

impl NotEnough {
    /// Whether so many can be chosen.
    pub fn check(available: &CpuSet, requested: usize) -> Result<(), Self> {
        let available = available.len();
        if requested > available { Err(Self { requested, available }) } else { Ok(()) }
    }
}

/// So many of the available CPUs, close together.
pub fn packed(
    machine: &MachineTopology,
    available: &CpuSet,
    count: usize,
    preference: Preference,
) -> Result<CpuSet, NotEnough> {
    NotEnough::check(available, count)?;
    let mut chosen = Accumulator::new(machine, available, count);
    chosen.take_whole(chosen.outer);
    chosen.take_whole(chosen.inner);
    if preference.by_cache {
        chosen.take_caches();
    }
    if !preference.spread {
        chosen.take_whole(Level::Core);
    }
    chosen.take_threads(preference.spread);
    Ok(chosen.taken)
}

/// A choice that grows.
pub struct Accumulator<'a> {
    machine: &'a MachineTopology,
    /// Of sockets and NUMA nodes the larger ones, and those in them.
    outer: Level,
    inner: Level,
    free: CpuSet,
    taken: CpuSet,
    wanted: usize,
}

impl<'a> Accumulator<'a> {
    /// Nothing is chosen yet of the available CPUs.
    pub fn new(machine: &'a MachineTopology, available: &CpuSet, wanted: usize) -> Self {
        let nodes_are_larger = machine.count(Level::Socket) >= machine.count(Level::Node);
        let (outer, inner) = if nodes_are_larger { (Level::Node, Level::Socket) } else { (Level::Socket, Level::Node) };
        Self { machine, outer, inner, free: available.clone(), taken: CpuSet::default(), wanted }
    }

    /// Adds CPUs to the choice.
    pub fn take(&mut self, cpus: &CpuSet) {
        self.free = self.free.difference(cpus);
        self.taken = self.taken.union(cpus);
        self.wanted = self.wanted.saturating_sub(cpus.len());
    }

    /// What was chosen.
    pub fn into_taken(self) -> CpuSet {
        self.taken
    }

    /// The CPUs of a group that can still be chosen.
    pub fn free_in(&self, level: Level, group: u32) -> CpuSet {
        self.machine.within(level, group).intersection(&self.free)
    }

    /// The groups that have free CPUs: within each of the larger groups those with the fewest first, so that what
    /// others use in part is used up before something whole is broken.
    pub fn ordered(&self, level: Level) -> Vec<u32> {
        let outer = self.sorted(self.outer, &self.free);
        if level == self.outer {
            return outer;
        }
        let inside = |groups: Vec<u32>, around: Level, level: Level| -> Vec<u32> {
            groups.into_iter().flat_map(|group| self.sorted(level, &self.free_in(around, group))).collect()
        };
        let inner = inside(outer, self.outer, self.inner);
        if level == self.inner { inner } else { inside(inner, self.inner, level) }
    }

    fn sorted(&self, level: Level, cpus: &CpuSet) -> Vec<u32> {
        let mut groups: Vec<u32> = self.machine.groups(level, cpus).into_iter().collect();
        groups.sort_by_key(|group| (self.free_in(level, *group).len(), *group));
        groups
    }

    /// Takes groups that are free as a whole, as long as that many CPUs are wanted.
    fn take_whole(&mut self, level: Level) {
        for group in self.ordered(level) {
            let cpus = self.machine.within(level, group);
            if cpus.is_subset(&self.free) && self.wanted >= cpus.len() {
                self.take(&cpus);
            }
        }
    }

    /// Takes whole caches, and the rest from one that has enough.
    fn take_caches(&mut self) {
        let size = self.machine.cpus().len() / self.machine.count(Level::Uncore).max(1);
        for cache in self.ordered(Level::Uncore) {
            if self.wanted >= size {
                self.take_whole(Level::Uncore);
            }
            self.take_within_cache(cache);
        }
    }

    fn take_within_cache(&mut self, cache: u32) {
        if self.wanted == 0 {
            return;
        }
        let per_core = self.machine.cpus_per_core();
        let free = self.free_in(Level::Uncore, cache);
        let cores = self.machine.groups(Level::Core, &free).into_iter().take(self.wanted.div_ceil(per_core.max(1)));
        let mut cpus = self.machine.within_any(Level::Core, &cores.collect()).intersection(&free);
        // Of the last core only one thread is needed for an odd number.
        if !self.wanted.is_multiple_of(2) && per_core > 1 && cpus.len() > self.wanted {
            cpus = cpus.iter().take(cpus.len() - 1).collect();
        }
        if cpus.len() == self.wanted {
            self.take(&cpus);
        }
    }

    fn take_threads(&mut self, spread: bool) {
        let level = if spread { Level::Socket } else { Level::Core };
        let order: Vec<u32> = self
            .ordered(level)
            .into_iter()
            .flat_map(|group| self.free_in(level, group).iter().collect::<Vec<_>>())
            .collect();
        let cpus = order.into_iter().take(self.wanted).collect();
        self.take(&cpus);
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::machine::tests::{FOUR_NODES, Shape, TWO_SOCKETS};
    use super::*;

    #[track_caller]
    fn check(shape: &Shape, available: &str, count: usize, preference: Preference, expected: &str) {
        let available = available.parse().expect("a list of CPUs");
        let taken = packed(&shape.machine(), &available, count, preference).expect("there are enough");
        assert_eq!(taken.to_string(), expected);
    }

    const USUAL: Preference = Preference { spread: false, by_cache: false };
    const SPREAD: Preference = Preference { spread: true, by_cache: false };
    const BY_CACHE: Preference = Preference { spread: false, by_cache: true };

    #[test]
    fn whole_groups_are_taken_before_parts_of_others() {
        check(&TWO_SOCKETS, "0-15", 1, USUAL, "0");
        check(&TWO_SOCKETS, "0-15", 2, USUAL, "0,8");
        check(&TWO_SOCKETS, "0-15", 3, USUAL, "0-1,8");
        check(&TWO_SOCKETS, "0-15", 8, USUAL, "0-3,8-11");
        // The first socket is broken already, the second is whole.
        check(&TWO_SOCKETS, "1-15", 8, USUAL, "4-7,12-15");
        check(&TWO_SOCKETS, "1-15", 9, USUAL, "4-8,12-15");
        // A single thread is of the core that is broken already.
        check(&TWO_SOCKETS, "1-15", 1, USUAL, "8");
        check(&TWO_SOCKETS, "1-15", 2, USUAL, "1,9");
        check(&FOUR_NODES, "0-31", 16, USUAL, "0-7,16-23");
        check(&FOUR_NODES, "0-31", 8, USUAL, "0-3,16-19");
        check(&FOUR_NODES, "1-31", 8, USUAL, "4-7,20-23");
    }

    #[test]
    fn threads_are_spread_over_cores_where_that_is_asked_for() {
        check(&TWO_SOCKETS, "0-15", 2, SPREAD, "0-1");
        check(&TWO_SOCKETS, "0-15", 5, SPREAD, "0-3,8");
        check(&TWO_SOCKETS, "0-15", 8, SPREAD, "0-3,8-11");
    }

    #[test]
    fn cpus_come_from_few_caches_where_that_is_asked_for() {
        let shape = Shape { sockets: 1, nodes: 1, uncores: 4, cores: 2, threads: 2 };
        // Caches: 0-1,8-9; 2-3,10-11; 4-5,12-13; 6-7,14-15.
        check(&shape, "0-15", 4, BY_CACHE, "0-1,8-9");
        check(&shape, "1-15", 4, BY_CACHE, "2-3,10-11");
        check(&shape, "1-15", 4, USUAL, "1-2,9-10");
        check(&shape, "1-15", 6, BY_CACHE, "2-4,10-12");
        check(&shape, "0-15", 3, BY_CACHE, "0-1,8");
    }

    #[test]
    fn more_than_there_is_is_refused() {
        let err = packed(&TWO_SOCKETS.machine(), &"0-2".parse().expect("CPUs"), 4, USUAL).expect_err("too few");
        assert_eq!(err.to_string(), "not enough cpus available to satisfy request: requested=4, available=3");
    }
}
