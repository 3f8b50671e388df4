//! The state of the table: which service has which rules, and what changes when services do.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::IpAddr;

use client::ObjectKey;
use network::nft::Batch;

use super::base_chains;
use super::rules::{Draw, NumberKind, ServiceRules, Verdict};
use super::script::{Element, Map, Script};
use super::{Family, Frontend, TableConfig};

/// UDP flows that connection tracking would go on sending to where they should no longer go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StaleFlow {
    /// Where the packets are sent to.
    pub frontend: Frontend,
    /// The endpoint they went to; none for packets that went to the frontend's own address while it had no endpoint.
    pub endpoint: Option<IpAddr>,
}

/// One transaction.
#[derive(Debug, PartialEq, Eq)]
pub struct Update {
    /// The changes.
    pub change: Change,
    /// The flows to forget once the transaction is applied.
    pub stale: Vec<StaleFlow>,
}

/// The changes of one transaction, in the form in which they reach the kernel.
#[derive(Debug, PartialEq, Eq)]
pub enum Change {
    /// Changes of elements.
    Batch(Batch),
    /// Text for `nft -f -`.
    Script(String),
}

/// The rules of all services, as the kernel has them when every [`Update`] has been applied.
#[derive(Debug)]
pub struct Table {
    config: TableConfig,
    services: HashMap<ObjectKey, ServiceRules>,
    /// Whose each frontend is: of several services that want it, the first. The others wait behind it.
    owners: HashMap<Frontend, Vec<ObjectKey>>,
    hairpins: HashMap<IpAddr, usize>,
    /// Shared chains stay until the table is replaced; there are as many as different numbers of endpoints.
    draws: HashSet<Draw>,
    /// How many numbers have a map and a chain.
    numbers: HashMap<(NumberKind, Family), u32>,
}

impl Table {
    /// An empty table.
    pub fn new(config: TableConfig) -> Self {
        Self {
            config,
            services: HashMap::new(),
            owners: HashMap::new(),
            hairpins: HashMap::new(),
            draws: HashSet::new(),
            numbers: HashMap::new(),
        }
    }

    /// Changes services (`None`: the service is gone) and returns the transaction that does the same in the kernel.
    pub fn update(&mut self, changes: Vec<(ObjectKey, Option<ServiceRules>)>) -> Update {
        let (script, stale) = self.apply(changes);
        let change = match script.batch(&self.config.name) {
            Some(batch) => Change::Batch(batch),
            None => Change::Script(self.text(&script)),
        };
        Update { change, stale }
    }

    /// Changes services without a transaction: [`Table::replace`] follows. The flows to forget are returned.
    pub fn set(&mut self, changes: Vec<(ObjectKey, Option<ServiceRules>)>) -> Vec<StaleFlow> {
        self.apply(changes).1
    }

    /// The same as [`Table::update`], with a text even where a batch does it.
    #[cfg(test)]
    pub(super) fn update_text(&mut self, changes: Vec<(ObjectKey, Option<ServiceRules>)>) -> (String, Vec<StaleFlow>) {
        let (script, stale) = self.apply(changes);
        (self.text(&script), stale)
    }

    fn apply(&mut self, changes: Vec<(ObjectKey, Option<ServiceRules>)>) -> (Script, Vec<StaleFlow>) {
        let mut script = Script::default();
        let mut stale = BTreeSet::new();
        for (key, rules) in changes {
            let rules = rules.unwrap_or_default();
            let old = self.services.remove(&key).unwrap_or_default();
            if old != rules {
                self.change(&key, &old, &rules, &mut script);
                stale_flows(&old, &rules, &mut stale);
            }
            if rules != ServiceRules::default() {
                self.services.insert(key, rules);
            }
        }
        (script, stale.into_iter().collect())
    }

    /// The transaction that replaces whatever the kernel has by this table. Established connections go on.
    pub fn replace(&mut self) -> String {
        let mut script = Script::default();
        self.draws.clear();
        self.numbers.clear();
        let draws = self.services.values().flat_map(|rules| rules.verdicts.values().filter_map(draw_of));
        for draw in draws.collect::<HashSet<_>>() {
            self.need(draw, &mut script);
        }
        for (key, rules) in &self.services {
            let owned = |frontend: &Frontend| self.owners.get(frontend).and_then(|keys| keys.first()) == Some(key);
            for (frontend, verdict) in rules.verdicts.iter().filter(|(frontend, _)| owned(frontend)) {
                add_verdict(&mut script, frontend, verdict);
            }
            for (at, endpoint) in rules.endpoints.iter().filter(|((frontend, _), _)| owned(frontend)) {
                add_endpoint(&mut script, at, endpoint);
            }
            script.chains.extend(rules.chains.clone());
            script.sets.extend(rules.affinity_sets.clone());
        }
        for ip in self.hairpins.keys() {
            script.add.entry((Map::Hairpins, Family::of(*ip))).or_default().push(Element::Hairpin(*ip));
        }
        let mut text = format!("add table inet {0}\ndelete table inet {0}\ntable inet {0} {{\n", self.config.name);
        base_chains::write(&mut text, &self.config);
        script.whole(&mut text, |draw| base_chains::draw_rules(draw, &self.config));
        text.push_str("}\n");
        text
    }

    fn text(&self, script: &Script) -> String {
        script.incremental(&self.config.name, |draw| base_chains::draw_rules(draw, &self.config))
    }

    fn change(&mut self, key: &ObjectKey, old: &ServiceRules, new: &ServiceRules, script: &mut Script) {
        // A chain may go to a shared one, whoever owns the frontend.
        for draw in new.verdicts.values().filter_map(draw_of) {
            self.need(draw, script);
        }
        let frontends: BTreeSet<&Frontend> = old.verdicts.keys().chain(new.verdicts.keys()).collect();
        for frontend in frontends {
            self.change_frontend(key, frontend, old, new, script);
        }
        for (chain, rules) in &new.chains {
            if old.chains.get(chain) != Some(rules) {
                script.chains.insert(chain.clone(), rules.clone());
            }
        }
        script.removed_chains.extend(old.chains.keys().filter(|chain| !new.chains.contains_key(*chain)).cloned());
        for (set, kind) in &new.affinity_sets {
            match old.affinity_sets.get(set) {
                Some(same) if same == kind => {}
                // A set's timeout cannot be changed; elements keep theirs, so the old one serves until a replacement.
                Some(_) => {}
                None => drop(script.sets.insert(set.clone(), *kind)),
            }
        }
        let gone = old.affinity_sets.keys().filter(|set| !new.affinity_sets.contains_key(*set));
        script.removed_sets.extend(gone.cloned());
        self.change_hairpins(old, new, script);
    }

    /// Makes sure that a shared chain exists, and what it leads to.
    fn need(&mut self, draw: Draw, script: &mut Script) {
        if !self.draws.insert(draw) {
            return;
        }
        script.draws.insert(draw);
        let exist = self.numbers.entry((draw.numbers(), draw.family)).or_default();
        script.numbers.extend((*exist..draw.endpoints).map(|number| (draw.numbers(), draw.family, number)));
        *exist = draw.endpoints.max(*exist);
    }

    fn change_frontend(
        &mut self,
        key: &ObjectKey,
        frontend: &Frontend,
        old: &ServiceRules,
        new: &ServiceRules,
        script: &mut Script,
    ) {
        let claims = self.owners.entry(*frontend).or_default();
        let owned = claims.first() == Some(key);
        match (new.verdicts.contains_key(frontend), claims.iter().position(|claim| claim == key)) {
            (true, None) => claims.push(key.clone()),
            (false, Some(at)) => drop(claims.remove(at)),
            _ => {}
        }
        let next = claims.first().cloned();
        if next.is_none() {
            self.owners.remove(frontend);
        }
        let empty = ServiceRules::default();
        let before = if owned { old } else { &empty };
        let after = match &next {
            Some(owner) if owner == key => new,
            // Whoever waited takes over; while another owns the frontend nothing changes.
            Some(other) if owned => self.services.get(other).unwrap_or(&empty),
            Some(_) => before,
            None => &empty,
        };
        diff_frontend(frontend, before, after, script);
    }

    fn change_hairpins(&mut self, old: &ServiceRules, new: &ServiceRules, script: &mut Script) {
        for ip in new.hairpins.difference(&old.hairpins) {
            let count = self.hairpins.entry(*ip).or_default();
            *count += 1;
            if *count == 1 {
                push_or_cancel(script, *ip, true);
            }
        }
        for ip in old.hairpins.difference(&new.hairpins) {
            if let Some(count) = self.hairpins.get_mut(ip) {
                *count -= 1;
                if *count == 0 {
                    self.hairpins.remove(ip);
                    push_or_cancel(script, *ip, false);
                }
            }
        }
    }
}

/// Adds or removes a hairpin; the opposite change by another service of the same transaction cancels it out.
fn push_or_cancel(script: &mut Script, ip: IpAddr, add: bool) {
    let (at, element) = ((Map::Hairpins, Family::of(ip)), Element::Hairpin(ip));
    let (to, from) = if add { (&mut script.add, &mut script.delete) } else { (&mut script.delete, &mut script.add) };
    if let Some(elements) = from.get_mut(&at)
        && let Some(found) = elements.iter().position(|other| *other == element)
    {
        elements.swap_remove(found);
        return;
    }
    to.entry(at).or_default().push(element);
}

fn draw_of(verdict: &Verdict) -> Option<Draw> {
    if let Verdict::Draw(draw) = verdict { Some(*draw) } else { None }
}

fn add_verdict(script: &mut Script, frontend: &Frontend, verdict: &Verdict) {
    let at = (Map::of_verdict(frontend, verdict), frontend.family());
    script.add.entry(at).or_default().push(Element::Verdict(*frontend, verdict.clone()));
}

fn add_endpoint(script: &mut Script, (frontend, number): &(Frontend, u32), endpoint: &std::net::SocketAddr) {
    let at = (Map::of_endpoint(frontend, *number), frontend.family());
    script.add.entry(at).or_default().push(Element::Endpoint(*frontend, *endpoint));
}

/// The changes of one frontend's verdict and endpoints.
fn diff_frontend(frontend: &Frontend, old: &ServiceRules, new: &ServiceRules, script: &mut Script) {
    let family = frontend.family();
    let (before, after) = (old.verdicts.get(frontend), new.verdicts.get(frontend));
    if before != after {
        if let Some(verdict) = before {
            let at = (Map::of_verdict(frontend, verdict), family);
            script.delete.entry(at).or_default().push(Element::Verdict(*frontend, verdict.clone()));
        }
        if let Some(verdict) = after {
            add_verdict(script, frontend, verdict);
        }
    }
    let range = (*frontend, 0)..=(*frontend, u32::MAX);
    for (at, endpoint) in old.endpoints.range(range.clone()) {
        if new.endpoints.get(at) != Some(endpoint) {
            let map = (Map::of_endpoint(frontend, at.1), family);
            script.delete.entry(map).or_default().push(Element::Endpoint(*frontend, *endpoint));
        }
    }
    for (at, endpoint) in new.endpoints.range(range) {
        if old.endpoints.get(at) != Some(endpoint) {
            add_endpoint(script, at, endpoint);
        }
    }
}

fn stale_flows(old: &ServiceRules, new: &ServiceRules, stale: &mut BTreeSet<StaleFlow>) {
    let none = BTreeSet::new();
    for (frontend, before) in &old.udp {
        let after = new.udp.get(frontend).unwrap_or(&none);
        stale.extend(before.difference(after).map(|ip| StaleFlow { frontend: *frontend, endpoint: Some(*ip) }));
    }
    for (frontend, after) in &new.udp {
        let had_some = old.udp.get(frontend).is_some_and(|before| !before.is_empty());
        if !after.is_empty() && !had_some {
            stale.insert(StaleFlow { frontend: *frontend, endpoint: None });
        }
    }
}
