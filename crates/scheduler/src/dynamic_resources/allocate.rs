//! The search: devices for all requests of all claims, so that constraints hold and no device serves two.
//!
//! Requests are met one after the other, devices are tried in the order in which they are published, and the last choice
//! is taken back where the search does not go on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use cel::device::Attribute;
use client::objects;
use k8s_openapi::api::core::v1::{NodeSelector, NodeSelectorRequirement, NodeSelectorTerm};
use k8s_openapi::api::resource::v1::{
    AllocationResult, DeviceAllocationConfiguration, DeviceAllocationResult, DeviceRequestAllocationResult,
};

use super::model::{DeviceId, Offer, Pools, Reach};
use super::plan::{Alternative, Due, MOST_DEVICES, MOST_STEPS};

/// What was found, by the claims' UIDs.
pub(super) type Found = BTreeMap<String, AllocationResult>;

/// A device that was chosen for a request.
struct Pick {
    claim: usize,
    request: usize,
    alternative: usize,
    offer: Arc<Offer>,
}

struct Search<'a> {
    due: &'a [Due],
    offers: &'a Pools,
    taken: &'a BTreeSet<DeviceId>,
    picks: Vec<Pick>,
    /// What the picks have taken.
    own: BTreeSet<DeviceId>,
    /// Which devices an alternative selects, by claim, request and alternative.
    selected: BTreeMap<(usize, usize, usize), Vec<Arc<Offer>>>,
    steps: usize,
}

/// Finds devices for claims; `None` if there are not enough. An error is what people read.
pub(super) fn allocate(due: &[Due], offers: &Pools, taken: &BTreeSet<DeviceId>) -> Result<Option<Found>, String> {
    let (picks, own, selected) = (Vec::new(), BTreeSet::new(), BTreeMap::new());
    let mut search = Search { due, offers, taken, picks, own, selected, steps: 0 };
    if !search.requests(0, 0)? {
        return Ok(None);
    }
    let result = |(index, due): (usize, &Due)| (objects::uid(&*due.claim).to_owned(), search.result(index, due));
    Ok(Some(due.iter().enumerate().map(result).collect()))
}

impl Search<'_> {
    /// Meets the requests from this one on.
    fn requests(&mut self, claim: usize, request: usize) -> Result<bool, String> {
        let Some(due) = self.due.get(claim) else { return Ok(true) };
        let Some(alternatives) = due.requests.get(request) else { return self.requests(claim + 1, 0) };
        for (index, alternative) in alternatives.iter().enumerate() {
            let place = (claim, request, index);
            let candidates = self.select(place, alternative)?;
            let is_met = match alternative.count {
                Some(count) => self.some(place, &candidates, 0, count)?,
                None => self.every(place, &candidates)?,
            };
            if is_met {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The devices that an alternative selects, whoever has them.
    fn select(&mut self, place: (usize, usize, usize), alternative: &Alternative) -> Result<Vec<Arc<Offer>>, String> {
        if let Some(known) = self.selected.get(&place) {
            return Ok(known.clone());
        }
        let mut selected = Vec::new();
        for offer in self.offers.values().flatten() {
            let mut fits = true;
            for program in &alternative.selectors {
                let matches = cel::device::matches(program, &offer.published);
                fits = matches.map_err(|err| {
                    let (driver, pool, device) = &offer.id;
                    format!("request {}: {driver}/{pool}/{device}: CEL runtime error: {err}", alternative.name)
                })?;
                if !fits {
                    break;
                }
            }
            selected.extend(fits.then(|| Arc::clone(offer)));
        }
        self.selected.insert(place, selected.clone());
        Ok(selected)
    }

    /// Takes `missing` devices of the candidates from an index on, and goes on with the next request.
    fn some(
        &mut self,
        place: (usize, usize, usize),
        candidates: &[Arc<Offer>],
        from: usize,
        missing: usize,
    ) -> Result<bool, String> {
        if missing == 0 {
            return self.requests(place.0, place.1 + 1);
        }
        for (index, offer) in candidates.iter().enumerate().skip(from) {
            if candidates.len() - index < missing {
                break;
            }
            if !self.pick(place, offer)? {
                continue;
            }
            if self.some(place, candidates, index + 1, missing - 1)? {
                return Ok(true);
            }
            self.take_back();
        }
        Ok(false)
    }

    /// Takes all candidates, of which there must be one, and goes on with the next request.
    fn every(&mut self, place: (usize, usize, usize), candidates: &[Arc<Offer>]) -> Result<bool, String> {
        let before = self.picks.len();
        let mut all = !candidates.is_empty();
        for offer in candidates {
            all = all && self.pick(place, offer)?;
        }
        if all && self.requests(place.0, place.1 + 1)? {
            return Ok(true);
        }
        while self.picks.len() > before {
            self.take_back();
        }
        Ok(false)
    }

    /// Chooses a device, if it is free and goes with those that were chosen before.
    fn pick(&mut self, place: (usize, usize, usize), offer: &Arc<Offer>) -> Result<bool, String> {
        self.steps += 1;
        if self.steps > MOST_STEPS {
            return Err("the search for devices takes too long".to_owned());
        }
        let (claim, request, alternative) = place;
        let asked = &self.due[claim].requests[request][alternative];
        let is_free = asked.admin || !(self.taken.contains(&offer.id) || self.own.contains(&offer.id));
        let count = self.picks.iter().filter(|pick| pick.claim == claim).count();
        if !is_free || count >= MOST_DEVICES || !self.agrees(claim, &asked.name, offer) {
            return Ok(false);
        }
        if !asked.admin {
            self.own.insert(offer.id.clone());
        }
        self.picks.push(Pick { claim, request, alternative, offer: Arc::clone(offer) });
        Ok(true)
    }

    fn take_back(&mut self) {
        if let Some(pick) = self.picks.pop()
            && !self.alternative(&pick).admin
        {
            self.own.remove(&pick.offer.id);
        }
    }

    fn alternative(&self, pick: &Pick) -> &Alternative {
        &self.due[pick.claim].requests[pick.request][pick.alternative]
    }

    /// Whether a device shares the attributes that it must with those that were chosen for its claim.
    fn agrees(&self, claim: usize, name: &str, offer: &Offer) -> bool {
        self.due[claim].constraints.iter().filter(|(requests, _)| concerns(requests, name)).all(
            |(requests, attribute)| {
                let Some(value) = offer.attribute(attribute) else { return false };
                let mut others = self.picks.iter().filter(|pick| pick.claim == claim);
                let first = others.find(|pick| concerns(requests, &self.alternative(pick).name));
                first.and_then(|pick| pick.offer.attribute(attribute)).is_none_or(|other: &Attribute| other == value)
            },
        )
    }

    fn result(&self, index: usize, due: &Due) -> AllocationResult {
        let picks: Vec<&Pick> = self.picks.iter().filter(|pick| pick.claim == index).collect();
        let results = picks.iter().map(|pick| {
            let (driver, pool, device) = pick.offer.id.clone();
            let asked = self.alternative(pick);
            DeviceRequestAllocationResult {
                request: asked.name.clone(),
                admin_access: asked.admin.then_some(true),
                driver,
                pool,
                device,
                ..DeviceRequestAllocationResult::default()
            }
        });
        let results: Vec<DeviceRequestAllocationResult> = results.collect();
        let config = self.config(due, &picks);
        AllocationResult {
            devices: Some(DeviceAllocationResult {
                results: Some(results),
                config: Some(config).filter(|config| !config.is_empty()),
            }),
            node_selector: node_selector(&picks),
            ..AllocationResult::default()
        }
    }

    /// What drivers are to be told: what classes say first, then what the claim says of requests that were met so.
    fn config(&self, due: &Due, picks: &[&Pick]) -> Vec<DeviceAllocationConfiguration> {
        let (mut config, mut seen) = (Vec::new(), BTreeSet::new());
        for pick in picks {
            if seen.insert((pick.request, pick.alternative)) {
                config.extend(self.alternative(pick).config.iter().cloned());
            }
        }
        let names: BTreeSet<&str> = picks.iter().map(|pick| self.alternative(pick).name.as_str()).collect();
        let of_claim = due.claim.spec.devices.iter().flat_map(|devices| devices.config.iter().flatten());
        for one in of_claim {
            let requests: BTreeSet<String> = one.requests.iter().flatten().cloned().collect();
            if names.iter().any(|name| concerns(&requests, name)) {
                config.push(DeviceAllocationConfiguration {
                    opaque: one.opaque.clone(),
                    requests: one.requests.clone(),
                    source: "FromClaim".to_owned(),
                });
            }
        }
        config
    }
}

/// Whether a list of requests is about one; an empty list is about all, and a request's name about its alternatives.
fn concerns(requests: &BTreeSet<String>, name: &str) -> bool {
    let base = name.split('/').next().unwrap_or(name);
    requests.is_empty() || requests.contains(name) || requests.contains(base)
}

/// The nodes from which all of the devices can be used.
fn node_selector(picks: &[&Pick]) -> Option<NodeSelector> {
    let mut term = NodeSelectorTerm::default();
    for pick in picks {
        match &pick.offer.reach {
            Reach::All => {}
            Reach::Node(name) => {
                let field = NodeSelectorRequirement {
                    key: "metadata.name".to_owned(),
                    operator: "In".to_owned(),
                    values: Some(vec![name.clone()]),
                };
                let fields = Some(vec![field]);
                let term = NodeSelectorTerm { match_fields: fields, ..NodeSelectorTerm::default() };
                return Some(NodeSelector { node_selector_terms: vec![term] });
            }
            Reach::Selected(selector) => {
                // Slices have one term.
                for one in selector.node_selector_terms.iter().take(1) {
                    add(&mut term.match_expressions, one.match_expressions.as_ref());
                    add(&mut term.match_fields, one.match_fields.as_ref());
                }
            }
        }
    }
    let is_empty = term.match_expressions.is_none() && term.match_fields.is_none();
    (!is_empty).then(|| NodeSelector { node_selector_terms: vec![term] })
}

fn add(to: &mut Option<Vec<NodeSelectorRequirement>>, from: Option<&Vec<NodeSelectorRequirement>>) {
    for requirement in from.into_iter().flatten() {
        let all = to.get_or_insert_default();
        if !all.contains(requirement) {
            all.push(requirement.clone());
        }
    }
}
