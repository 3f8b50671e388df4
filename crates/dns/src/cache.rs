//! What upstream resolvers have said, for as long as they allow, in bounded memory.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use tokio::time::Instant;

/// How many answers are kept.
const CAPACITY: usize = 10_000;
/// How long a positive answer is kept at most.
const MAX_TTL: u32 = 3600;
/// How long it is kept at most that a name does not exist.
const MAX_NEGATIVE_TTL: u32 = 30;

/// A question as far as it decides over the answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Question {
    /// The name in lower case.
    pub name: Name,
    /// The type.
    pub kind: RecordType,
    /// Whether signatures are wanted.
    pub dnssec_ok: bool,
    /// Whether the upstream resolver shall not check them.
    pub checking_disabled: bool,
}

/// What an upstream resolver said.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Reply {
    pub code: ResponseCode,
    pub authentic_data: bool,
    pub answers: Vec<Record>,
    pub authorities: Vec<Record>,
}

impl Reply {
    /// For how many seconds it may be kept; none for failures and for negative answers that do not say.
    pub fn ttl(&self) -> Option<u32> {
        let least = |records: &[Record]| records.iter().map(|record| record.ttl).min();
        match self.code {
            ResponseCode::NoError if !self.answers.is_empty() => least(&self.answers).map(|ttl| ttl.min(MAX_TTL)),
            ResponseCode::NoError | ResponseCode::NXDomain => {
                let soa = self.authorities.iter().find_map(|record| match &record.data {
                    RData::SOA(soa) => Some(record.ttl.min(soa.minimum)),
                    _ => None,
                });
                soa.map(|ttl| ttl.min(MAX_NEGATIVE_TTL))
            }
            _ => None,
        }
        .filter(|ttl| *ttl > 0)
    }

    /// The reply some time later.
    pub fn aged(&self, by: Duration) -> Self {
        let seconds = u32::try_from(by.as_secs()).unwrap_or(u32::MAX);
        let mut aged = self.clone();
        for record in aged.answers.iter_mut().chain(&mut aged.authorities) {
            record.ttl = record.ttl.min(MAX_TTL).saturating_sub(seconds);
        }
        aged
    }
}

/// The replies that are still valid.
#[derive(Debug, Default)]
pub(crate) struct Cache {
    entries: HashMap<Question, Entry>,
    /// In the order in which they came. The oldest goes when there is no room.
    order: VecDeque<(Question, Instant)>,
}

#[derive(Debug)]
struct Entry {
    reply: Arc<Reply>,
    stored: Instant,
    expires: Instant,
}

impl Cache {
    /// The reply to a question, with the time that is left in its records.
    pub fn get(&self, question: &Question, now: Instant) -> Option<Reply> {
        let entry = self.entries.get(question).filter(|entry| now < entry.expires)?;
        Some(entry.reply.aged(now - entry.stored))
    }

    /// Keeps a reply, if it may be kept.
    pub fn put(&mut self, question: Question, reply: &Arc<Reply>, now: Instant) {
        let Some(ttl) = reply.ttl() else { return };
        while self.order.len() >= CAPACITY {
            let Some((oldest, stored)) = self.order.pop_front() else { break };
            // A question that was asked again has a newer place in the order too.
            if self.entries.get(&oldest).is_some_and(|entry| entry.stored == stored) {
                self.entries.remove(&oldest);
            }
        }
        let expires = now + Duration::from_secs(u64::from(ttl));
        self.order.push_back((question.clone(), now));
        self.entries.insert(question, Entry { reply: Arc::clone(reply), stored: now, expires });
    }
}

#[cfg(test)]
mod tests {
    use hickory_proto::rr::rdata::{A, SOA};

    use super::*;

    fn question(name: &str) -> Question {
        let name = Name::from_ascii(name).expect("a name");
        Question { name, kind: RecordType::A, dnssec_ok: false, checking_disabled: false }
    }

    fn record(ttl: u32, data: RData) -> Record {
        Record::from_rdata(Name::from_ascii("example.com.").expect("a name"), ttl, data)
    }

    fn reply(code: ResponseCode, answers: Vec<Record>, authorities: Vec<Record>) -> Arc<Reply> {
        Arc::new(Reply { code, authentic_data: false, answers, authorities })
    }

    fn address(ttl: u32) -> Record {
        record(ttl, RData::A(A([192, 0, 2, 1].into())))
    }

    #[test]
    fn a_reply_ages_and_ends() {
        let (mut cache, start) = (Cache::default(), Instant::now());
        cache.put(question("a.test."), &reply(ResponseCode::NoError, vec![address(60), address(100)], vec![]), start);
        let after = |seconds| cache.get(&question("a.test."), start + Duration::from_secs(seconds));
        let ttls = after(20).map(|reply| reply.answers.iter().map(|record| record.ttl).collect::<Vec<_>>());
        assert_eq!(ttls, Some(vec![40, 80]));
        assert_eq!(after(60), None);
    }

    #[test]
    fn how_long_replies_are_kept() {
        let name = || Name::root();
        let soa = |ttl, minimum| record(ttl, RData::SOA(SOA::new(name(), name(), 1, 1, 1, 1, minimum)));
        let cases = [
            (reply(ResponseCode::NoError, vec![address(999_999)], vec![]), Some(MAX_TTL)),
            (reply(ResponseCode::NoError, vec![address(0)], vec![]), None),
            (reply(ResponseCode::NXDomain, vec![], vec![soa(100, 20)]), Some(20)),
            (reply(ResponseCode::NoError, vec![], vec![soa(10, 900)]), Some(10)),
            (reply(ResponseCode::NXDomain, vec![], vec![]), None),
            (reply(ResponseCode::ServFail, vec![], vec![soa(10, 900)]), None),
        ];
        for (reply, expected) in cases {
            assert_eq!(reply.ttl(), expected, "{reply:?}");
        }
    }

    #[test]
    fn the_oldest_goes_when_there_is_no_room() {
        let (mut cache, now) = (Cache::default(), Instant::now());
        let reply = reply(ResponseCode::NoError, vec![address(60)], vec![]);
        for number in 0..=CAPACITY {
            cache.put(question(&format!("n{number}.test.")), &reply, now);
        }
        assert_eq!(cache.get(&question("n0.test."), now), None);
        assert!(cache.get(&question("n1.test."), now).is_some());
        assert_eq!((cache.entries.len(), cache.order.len()), (CAPACITY, CAPACITY));
    }
}
