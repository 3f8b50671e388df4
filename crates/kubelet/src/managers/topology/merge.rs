//! One place out of the hints of all resources.
//!
//! Each resource names the places from which it could come. All choices of one place for each resource are tried: the
//! nodes that such a choice has in common are a candidate, and the best of the candidates is what the containers get.

use std::collections::BTreeMap;

use super::super::machine::MachineTopology;
use super::hint::{Hint, Hints, NodeMask};
use super::settings::{Policy, Settings};

/// How candidates are compared.
pub struct Merger {
    policy: Policy,
    prefer_closest: bool,
    all: NodeMask,
    distances: BTreeMap<u32, BTreeMap<u32, u32>>,
}

impl Merger {
    /// For a machine.
    pub fn new(settings: &Settings, machine: &MachineTopology) -> Self {
        let nodes = machine.nodes();
        Self {
            policy: settings.policy,
            prefer_closest: settings.prefer_closest,
            all: NodeMask::of(nodes.keys().copied()),
            distances: nodes.iter().map(|(node, found)| (*node, found.distances.clone())).collect(),
        }
    }

    /// The best place by what each provider says, and whether a pod may run there.
    pub fn merge(&self, providers: &[Hints]) -> (Hint, bool) {
        let mut lists: Vec<Vec<Hint>> = Vec::new();
        for hints in providers {
            if hints.is_empty() {
                lists.push(vec![Hint::ANY]);
            }
            for hints in hints.values() {
                lists.push(if hints.is_empty() { vec![Hint::NONE] } else { hints.clone() });
            }
        }
        match self.policy {
            Policy::None => (Hint::NONE, true),
            Policy::BestEffort => (self.best(&lists), true),
            Policy::Restricted => {
                let best = self.best(&lists);
                (best, best.preferred)
            }
            Policy::SingleNumaNode => {
                for hints in &mut lists {
                    hints.retain(|hint| hint.preferred && hint.nodes.is_none_or(|nodes| nodes.count() == 1));
                }
                let mut best = self.best(&lists);
                if best.nodes == Some(self.all) {
                    best.nodes = None;
                }
                (best, best.preferred)
            }
        }
    }

    fn best(&self, lists: &[Vec<Hint>]) -> Hint {
        // The fewest nodes that the most demanding resource can do with: where not all can have what they prefer, a
        // set of this size is the best to be had.
        let least = |hints: &Vec<Hint>| hints.iter().filter_map(|hint| hint.nodes).map(NodeMask::count).min();
        let aim = lists.iter().filter_map(least).max().unwrap_or(0);
        let mut best: Option<(NodeMask, bool)> = None;
        let mut chosen = Vec::new();
        for_each_choice(lists, &mut chosen, &mut |choice| {
            let (nodes, preferred) = self.common(choice);
            if nodes.count() > 0 && best.is_none_or(|best| self.is_better((nodes, preferred), best, aim)) {
                best = Some((nodes, preferred));
            }
        });
        let (nodes, preferred) = best.unwrap_or((self.all, false));
        Hint { nodes: Some(nodes), preferred }
    }

    /// The nodes that a choice has in common; preferred where all prefer the same ones.
    fn common(&self, choice: &[Hint]) -> (NodeMask, bool) {
        let masks = choice.iter().filter_map(|hint| hint.nodes);
        let first = masks.clone().next();
        let agree = masks.clone().all(|mask| Some(mask) == first);
        let nodes = masks.fold(self.all, NodeMask::and);
        (nodes, agree && choice.iter().all(|hint| hint.preferred))
    }

    /// Whether a candidate takes the place of the best one so far.
    fn is_better(&self, candidate: (NodeMask, bool), best: (NodeMask, bool), aim: usize) -> bool {
        if candidate.1 != best.1 {
            return candidate.1;
        }
        let fits = self.is_fitter(candidate.0, best.0);
        if candidate.1 {
            return fits;
        }
        // Neither is preferred: as close to the aim as can be, rather below than above.
        let (new, old) = (candidate.0.count(), best.0.count());
        match old.cmp(&aim) {
            std::cmp::Ordering::Greater => fits,
            std::cmp::Ordering::Equal => new == aim && fits,
            std::cmp::Ordering::Less => new == aim || (new < aim && (new > old || (new == old && fits))),
        }
    }

    /// Whether one set is fitter than the other: it is narrower, or its nodes are closer to each other.
    fn is_fitter(&self, new: NodeMask, old: NodeMask) -> bool {
        let by_distance = self.prefer_closest && self.policy != Policy::SingleNumaNode && new.count() == old.count();
        if !by_distance {
            return new.is_narrower_than(old);
        }
        match self.total_distance(new).cmp(&self.total_distance(old)) {
            std::cmp::Ordering::Less => true,
            std::cmp::Ordering::Equal => new.is_narrower_than(old),
            std::cmp::Ordering::Greater => false,
        }
    }

    /// The distances between all nodes of a set together; sets of the same size compare by it as by their average.
    fn total_distance(&self, mask: NodeMask) -> u64 {
        let nodes = mask.nodes();
        let from = |node: &u32| self.distances.get(node);
        let all = nodes.iter().filter_map(from).flat_map(|to| nodes.iter().filter_map(|node| to.get(node)));
        all.map(|distance| u64::from(*distance)).sum()
    }
}

fn for_each_choice(lists: &[Vec<Hint>], chosen: &mut Vec<Hint>, with: &mut impl FnMut(&[Hint])) {
    let Some((first, rest)) = lists.split_first() else { return with(chosen) };
    for hint in first {
        chosen.push(*hint);
        for_each_choice(rest, chosen, with);
        chosen.pop();
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::machine::tests::{FOUR_NODES, TWO_SOCKETS};
    use super::*;

    /// Hints as text: nodes, with a star where preferred; `-` for any.
    fn hints(text: &str) -> Vec<Hint> {
        let one = |word: &str| {
            let preferred = word.ends_with('*');
            let word = word.trim_end_matches('*');
            let nodes = (word != "-").then(|| NodeMask::of(word.split('+').map(|node| node.parse().expect("a node"))));
            Hint { nodes, preferred }
        };
        text.split_whitespace().map(one).collect()
    }

    fn show(hint: Hint) -> String {
        let nodes = hint.nodes.map(|mask| mask.nodes().iter().map(ToString::to_string).collect::<Vec<_>>().join("+"));
        format!("{}{}", nodes.unwrap_or_else(|| "-".to_owned()), if hint.preferred { "*" } else { "" })
    }

    /// Each provider's hints for one resource; `none` for a provider without any.
    #[track_caller]
    fn check_on(machine: &MachineTopology, settings: &Settings, providers: &[&str], expected: (&str, bool)) {
        let of = |(index, text): (usize, &&str)| match *text {
            "none" => Hints::new(),
            text => Hints::from([(format!("r{index}"), hints(text))]),
        };
        let providers: Vec<Hints> = providers.iter().enumerate().map(of).collect();
        let (hint, admitted) = Merger::new(settings, machine).merge(&providers);
        assert_eq!((show(hint).as_str(), admitted), expected, "{:?}", settings.policy);
    }

    #[track_caller]
    fn check(providers: &[&str], best: (&str, bool), restricted: (&str, bool), single: (&str, bool)) {
        let machine = TWO_SOCKETS.machine();
        for (policy, expected) in
            [(Policy::BestEffort, best), (Policy::Restricted, restricted), (Policy::SingleNumaNode, single)]
        {
            check_on(&machine, &Settings { policy, ..Settings::default() }, providers, expected);
        }
    }

    #[test]
    fn resources_come_from_the_nodes_that_all_can_use() {
        let same = |hint, admitted| ((hint, admitted), (hint, admitted), (hint, admitted));
        let all = |providers: &[&str], (best, restricted, single)| check(providers, best, restricted, single);
        // Nobody cares: any place, which single-numa-node does not narrow.
        check(&["none"], ("0+1*", true), ("0+1*", true), ("-*", true));
        check(&["-*", "none"], ("0+1*", true), ("0+1*", true), ("-*", true));
        all(&["0* 1* 0+1"], same("0*", true));
        all(&["0* 1* 0+1", "1* 0+1"], same("1*", true));
        all(&["0* 1* 0+1", "none", "1*"], same("1*", true));
        // What one prefers the other cannot have.
        check(&["0* 0+1", "1* 0+1"], ("0", true), ("0", false), ("-", false));
        check(&["0*", "1*"], ("0+1", true), ("0+1", false), ("-", false));
        // A resource that no place has.
        check(&["0* 1*", ""], ("0", true), ("0", false), ("-", false));
        // Two nodes are the least that is needed.
        check(&["0+1*"], ("0+1*", true), ("0+1*", true), ("-", false));
        check(&["0+1*", "0* 1* 0+1"], ("0+1", true), ("0+1", false), ("-", false));
    }

    #[test]
    fn without_agreement_the_set_is_as_large_as_the_most_demanding_needs() {
        let machine = FOUR_NODES.machine();
        let settings = Settings { policy: Policy::BestEffort, ..Settings::default() };
        check_on(&machine, &settings, &["0+1+2 0+1+3", "0+1 2+3 0+1+2+3"], ("0+1+2", true));
        check_on(&machine, &settings, &["0+1 2+3", "0 1 2 3 0+1"], ("0+1", true));
        check_on(&machine, &settings, &["0+3 1+2", "0+1+2+3"], ("1+2", true));
    }

    #[test]
    fn closer_nodes_are_better_where_that_is_asked_for() {
        let machine = FOUR_NODES.machine();
        let settings = Settings { policy: Policy::BestEffort, ..Settings::default() };
        let pairs = "0+2* 1+3* 2+3* 0+1+2+3";
        check_on(&machine, &settings, &[pairs], ("0+2*", true));
        let settings = Settings { prefer_closest: true, ..settings };
        check_on(&machine, &settings, &[pairs], ("2+3*", true));
        check_on(&machine, &settings, &["0+1* 2+3*"], ("0+1*", true));
    }
}
