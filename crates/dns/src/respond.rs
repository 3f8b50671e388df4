//! From a request's bytes to a response's bytes.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use base::Env;
use hickory_proto::op::{Edns, Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::rdata::CNAME;
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

use crate::cache::{Question, Reply};
use crate::forward::Forwarder;
use crate::zone::{Answer, TTL, Zone};

/// The largest UDP payload that crosses networks in one piece.
pub(crate) const MAX_UDP_PAYLOAD: u16 = 1232;
/// The largest UDP payload for a client that does not say.
const PLAIN_UDP_PAYLOAD: usize = 512;
/// How many names may stand for each other before an answer is given up.
const MAX_ALIASES: usize = 8;

/// How a request came, which limits the response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Udp,
    Tcp,
}

/// Answers requests. Shared by all sockets.
pub(crate) struct Responder {
    pub env: Env,
    /// None until the cluster's names are known: then nothing can be said about them, not even that they do not exist.
    pub zone: ArcSwapOption<Zone>,
    pub empty: Zone,
    pub forwarder: Forwarder,
}

/// A request that cannot be answered at once: it has to be asked upstream.
pub(crate) struct Pending {
    request: Message,
    question: Question,
    /// What precedes the answer: aliases of our zone.
    aliases: Vec<Record>,
    transport: Transport,
}

/// What becomes of a request.
pub(crate) enum Outcome {
    /// It is answered with these bytes.
    Answered(Vec<u8>),
    /// It needs an upstream resolver.
    Pending(Box<Pending>),
    /// It is not answered: it is no request.
    Ignored,
}

impl Responder {
    /// Answers a request, if that needs nobody else.
    pub fn respond(&self, bytes: &[u8], transport: Transport) -> Outcome {
        let Ok(request) = Message::from_vec(bytes) else {
            // What has at least a header of a request is told that it cannot be understood.
            let Some(&[id_high, id_low, flags, ..]) = bytes.get(..12) else { return Outcome::Ignored };
            if flags & 0x80 != 0 {
                return Outcome::Ignored;
            }
            let id = u16::from_be_bytes([id_high, id_low]);
            let message = Message::error_msg(id, OpCode::Query, ResponseCode::FormErr);
            return message.to_vec().map_or(Outcome::Ignored, Outcome::Answered);
        };
        if request.metadata.message_type != MessageType::Query {
            return Outcome::Ignored;
        }
        let refuse = |code| Outcome::Answered(finish(response(&request, code), &request, transport));
        if request.metadata.op_code != OpCode::Query {
            return refuse(ResponseCode::NotImp);
        }
        if request.edns.as_ref().is_some_and(|edns| edns.version() > 0) {
            return refuse(ResponseCode::BADVERS);
        }
        let [query] = request.queries.as_slice() else { return refuse(ResponseCode::FormErr) };
        if query.query_class() != DNSClass::IN || matches!(query.query_type(), RecordType::AXFR | RecordType::IXFR) {
            return refuse(ResponseCode::Refused);
        }
        let (name, kind) = (query.name().clone(), query.query_type());
        self.answer(request, name, kind, transport)
    }

    fn answer(&self, request: Message, name: Name, kind: RecordType, transport: Transport) -> Outcome {
        let synced = self.zone.load();
        let zone = synced.as_deref().unwrap_or(&self.empty);
        let (mut name, mut aliases) = (name, Vec::new());
        loop {
            let answer = zone.lookup(&name, kind);
            if synced.is_none() && answer != Answer::Elsewhere {
                let message = response(&request, ResponseCode::ServFail);
                return Outcome::Answered(finish(message, &request, transport));
            }
            let mut message = response(&request, ResponseCode::NoError);
            message.metadata.authoritative = true;
            match answer {
                Answer::Records(mut records, additional) => {
                    self.shuffle(&mut records);
                    message.answers = aliases;
                    message.answers.extend(records);
                    message.additionals = additional;
                }
                Answer::Alias(target) => {
                    let alias = RData::CNAME(CNAME(target.clone()));
                    aliases.push(Record::from_rdata(name.clone(), TTL, alias));
                    if kind != RecordType::CNAME && aliases.len() < MAX_ALIASES {
                        name = target;
                        continue;
                    }
                    message.answers = aliases;
                }
                Answer::NoData => negative(&mut message, aliases, zone, ResponseCode::NoError),
                Answer::NoName => negative(&mut message, aliases, zone, ResponseCode::NXDomain),
                Answer::Elsewhere => return self.forward(request, &name, kind, aliases, transport),
            }
            return Outcome::Answered(finish(message, &request, transport));
        }
    }

    fn forward(
        &self,
        request: Message,
        name: &Name,
        kind: RecordType,
        aliases: Vec<Record>,
        transport: Transport,
    ) -> Outcome {
        let question = Question {
            name: name.to_lowercase(),
            kind,
            dnssec_ok: request.edns.as_ref().is_some_and(|edns| edns.flags().dnssec_ok),
            checking_disabled: request.metadata.checking_disabled,
        };
        let pending = Box::new(Pending { request, question, aliases, transport });
        match self.forwarder.cached(&pending.question) {
            Some(reply) => Outcome::Answered(pending.finish(Some(&reply))),
            None => Outcome::Pending(pending),
        }
    }

    /// Answers a pending request, with a failure where nobody upstream knows.
    pub async fn resolve(&self, pending: Box<Pending>) -> Vec<u8> {
        match self.forwarder.ask(&pending.question).await {
            Ok(reply) => pending.finish(Some(&reply)),
            Err(err) => {
                tracing::debug!(name = %pending.question.name, kind = %pending.question.kind, err = %err, "question cannot be forwarded");
                pending.finish(None)
            }
        }
    }

    /// Spreads clients that take the first address over all of them.
    fn shuffle(&self, records: &mut [Record]) {
        for at in (1..records.len()).rev() {
            let other = self.env.random().below(at as u64 + 1);
            records.swap(at, usize::try_from(other).unwrap_or_default());
        }
    }
}

impl Pending {
    fn finish(&self, reply: Option<&Reply>) -> Vec<u8> {
        let mut message = response(&self.request, reply.map_or(ResponseCode::ServFail, |reply| reply.code));
        message.answers.clone_from(&self.aliases);
        if let Some(reply) = reply {
            message.metadata.authentic_data = reply.authentic_data && self.aliases.is_empty();
            message.answers.extend(reply.answers.iter().cloned());
            message.authorities.clone_from(&reply.authorities);
            self.restore_case(&mut message.answers);
        }
        finish(message, &self.request, self.transport)
    }

    /// Some clients compare the owner of an answer with the name that they asked for letter by letter.
    fn restore_case(&self, answers: &mut [Record]) {
        let Some(asked) = self.request.queries.first() else { return };
        for record in answers.iter_mut().filter(|record| record.name == *asked.name()) {
            record.name = asked.name().clone();
        }
    }
}

fn response(request: &Message, code: ResponseCode) -> Message {
    let mut message = Message::response(request.metadata.id, request.metadata.op_code);
    message.metadata.recursion_desired = request.metadata.recursion_desired;
    message.metadata.recursion_available = true;
    message.metadata.checking_disabled = request.metadata.checking_disabled;
    message.metadata.response_code = code;
    message.queries.clone_from(&request.queries);
    if let Some(asked) = &request.edns {
        let mut edns = Edns::new();
        edns.set_max_payload(MAX_UDP_PAYLOAD).set_version(0).set_dnssec_ok(asked.flags().dnssec_ok);
        message.set_edns(edns);
    }
    message
}

fn negative(message: &mut Message, aliases: Vec<Record>, zone: &Zone, code: ResponseCode) {
    message.metadata.response_code = code;
    message.answers = aliases;
    message.authorities = vec![zone.soa()];
}

/// Encodes a response within what the transport and the client allow. What does not fit over UDP loses first what is
/// additional, then half of its answers at a time, and says that it is truncated.
fn finish(mut message: Message, request: &Message, transport: Transport) -> Vec<u8> {
    let limit = match (transport, &request.edns) {
        (Transport::Tcp, _) => usize::from(u16::MAX),
        (Transport::Udp, Some(edns)) => usize::from(edns.max_payload().clamp(512, MAX_UDP_PAYLOAD)),
        (Transport::Udp, None) => PLAIN_UDP_PAYLOAD,
    };
    loop {
        match message.to_vec() {
            Ok(bytes) if bytes.len() <= limit => return bytes,
            Err(err) if message.answers.is_empty() && message.authorities.is_empty() => {
                tracing::warn!(err = %err, "response cannot be encoded");
                return Vec::new();
            }
            _ => {}
        }
        if !message.additionals.is_empty() {
            message.additionals.clear();
            continue;
        }
        message.metadata.truncation = true;
        if message.answers.is_empty() && message.authorities.is_empty() {
            return Vec::new();
        }
        message.authorities.clear();
        let half = message.answers.len() / 2;
        message.answers.truncate(half);
    }
}

/// A responder shared by sockets.
pub(crate) type Shared = Arc<Responder>;
