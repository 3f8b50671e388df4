//! Chooses CPUs evenly from several NUMA nodes where one is not enough.

use std::collections::BTreeMap;

use super::super::combinations::combinations;
use super::super::cpuset::CpuSet;
use super::super::machine::{Level, MachineTopology};
use super::take::{Accumulator, NotEnough, Preference, packed};

/// So many of the available CPUs, as many from each of the fewest nodes that can give as many, in groups of `group`;
/// packed where no nodes can.
pub fn distributed(
    machine: &MachineTopology,
    available: &CpuSet,
    count: usize,
    group: usize,
    preference: Preference,
) -> Result<CpuSet, NotEnough> {
    NotEnough::check(available, count)?;
    let plan =
        if count > 0 && count.is_multiple_of(group) { Plan::find(machine, available, count, group) } else { None };
    let Some(plan) = plan else { return packed(machine, available, count, preference) };
    let mut chosen = Accumulator::new(machine, available, count);
    for (node, share) in plan.shares {
        // Caches are no matter here: the options exclude each other.
        let cpus = packed(machine, &chosen.free_in(Level::Node, node), share, preference)?;
        chosen.take(&cpus);
    }
    Ok(chosen.into_taken())
}

/// What each node gives.
struct Plan {
    shares: BTreeMap<u32, usize>,
    /// How unevenly CPUs are left on the nodes.
    imbalance: u64,
}

impl Plan {
    /// The plan of the fewest nodes that leaves the nodes most alike.
    fn find(machine: &MachineTopology, available: &CpuSet, count: usize, group: usize) -> Option<Self> {
        let chosen = Accumulator::new(machine, available, count);
        let nodes = chosen.ordered(Level::Node);
        let free: BTreeMap<u32, usize> =
            nodes.iter().map(|node| (*node, chosen.free_in(Level::Node, *node).len())).collect();
        (1..=nodes.len()).find_map(|size| {
            let plans =
                combinations(&nodes, size).into_iter().filter_map(|nodes| Self::of(&nodes, &free, count, group));
            plans.min_by_key(|plan| plan.imbalance)
        })
    }

    /// The plan for exactly these nodes, if they can give it.
    fn of(nodes: &[u32], free: &BTreeMap<u32, usize>, count: usize, group: usize) -> Option<Self> {
        let groups: usize = nodes.iter().map(|node| free[node] / group).sum();
        let share = count / nodes.len() / group * group;
        if groups * group < count || nodes.iter().any(|node| free[node] < share) {
            return None;
        }
        let mut even = free.clone();
        nodes.iter().for_each(|node| *even.entry(*node).or_default() -= share);
        // What does not divide is given by some of the nodes, one group each.
        let further = (count - share * nodes.len()) / group;
        let able: Vec<u32> = nodes.iter().copied().filter(|node| even[node] >= group).collect();
        let plans = combinations(&able, further.min(able.len())).into_iter().filter_map(|subset| {
            let mut left = even.clone();
            let mut rest = further;
            while rest > 0 {
                let before = rest;
                for node in &subset {
                    let has = left.entry(*node).or_default();
                    if rest > 0 && *has >= group {
                        (*has, rest) = (*has - group, rest - 1);
                    }
                }
                if rest == before {
                    return None;
                }
            }
            let shares = nodes.iter().map(|node| (*node, free[node] - left[node])).collect();
            Some(Self { shares, imbalance: imbalance(left.values().copied()) })
        });
        plans.min_by_key(|plan| plan.imbalance)
    }
}

/// Grows with the deviation of numbers from their mean: their variance times the square of how many they are.
fn imbalance(numbers: impl Iterator<Item = usize>) -> u64 {
    let (mut count, mut sum, mut squares) = (0, 0, 0);
    for number in numbers {
        let number = number as u64;
        (count, sum, squares) = (count + 1, sum + number, squares + number * number);
    }
    count * squares - sum * sum
}

#[cfg(test)]
mod tests {
    use super::super::super::machine::tests::{FOUR_NODES, Shape, TWO_SOCKETS};
    use super::*;

    #[track_caller]
    fn check(shape: &Shape, available: &str, count: usize, group: usize, expected: &str) {
        let available = available.parse().expect("a list of CPUs");
        let taken = distributed(&shape.machine(), &available, count, group, Preference::default());
        assert_eq!(taken.expect("there are enough").to_string(), expected);
    }

    #[test]
    fn nodes_give_alike_where_one_is_not_enough() {
        check(&TWO_SOCKETS, "0-15", 8, 1, "0-3,8-11");
        check(&TWO_SOCKETS, "0-15", 10, 1, "0-2,4-6,8-9,12-13");
        check(&TWO_SOCKETS, "0-15", 12, 2, "0-2,4-6,8-10,12-14");
        check(&FOUR_NODES, "0-31", 18, 1, "0-2,4-6,8-10,16-18,20-22,24-26");
    }

    #[test]
    fn the_nodes_are_left_as_alike_as_can_be() {
        check(&FOUR_NODES, "4-15,20-31", 10, 2, "4-6,8-9,20-22,24-25");
        // Node 0 has fewer: the other one gives more.
        check(&TWO_SOCKETS, "2-15", 9, 1, "2-6,10-13");
    }
}
