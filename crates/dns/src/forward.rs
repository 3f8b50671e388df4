//! Asks upstream resolvers.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base::Env;
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query};
use hickory_proto::rr::DNSClass;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::watch;

use crate::cache::{Cache, Question, Reply};
use crate::resolv_conf::Upstreams;
use crate::respond::MAX_UDP_PAYLOAD;

/// How long one server may take.
const SERVER_TIMEOUT: Duration = Duration::from_secs(2);
/// How long all servers together may take; clients ask again after five seconds.
const TOTAL_TIMEOUT: Duration = Duration::from_millis(4500);

/// No upstream resolver has answered.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum ForwardError {
    /// There is none.
    #[error("there is no upstream resolver")]
    NoUpstream,
    /// Each failed; this is how the last did.
    #[error("upstream resolver {server}: {error}")]
    Failed { server: SocketAddr, error: Arc<io::Error> },
    /// The time for all of them is over.
    #[error("upstream resolvers did not answer in time")]
    TimedOut,
    /// Another task had asked the same and did not live to tell.
    #[error("the same question was given up by another client")]
    Abandoned,
}

type Outcome = Result<Arc<Reply>, ForwardError>;

/// Forwards questions, each once at a time, and remembers the answers.
pub(crate) struct Forwarder {
    env: Env,
    upstreams: Upstreams,
    cache: Mutex<Cache>,
    in_flight: Mutex<HashMap<Question, watch::Receiver<Option<Outcome>>>>,
    /// The place in the list of the server that answered last.
    preferred: AtomicUsize,
}

impl Forwarder {
    pub fn new(env: Env, upstreams: Upstreams) -> Self {
        Self { env, upstreams, cache: Mutex::default(), in_flight: Mutex::default(), preferred: AtomicUsize::new(0) }
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn in_flight(&self) -> MutexGuard<'_, HashMap<Question, watch::Receiver<Option<Outcome>>>> {
        self.in_flight.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is remembered of a question.
    pub fn cached(&self, question: &Question) -> Option<Reply> {
        self.cache().get(question, self.env.instant())
    }

    /// Asks upstream. While the same question is asked for another client, that answer is waited for: in a loop of
    /// forwarding servers the second round waits for the first and both end, instead of going round for ever.
    pub async fn ask(&self, question: &Question) -> Outcome {
        let (sender, existing) = {
            let mut in_flight = self.in_flight();
            match in_flight.get(question) {
                Some(receiver) => (None, Some(receiver.clone())),
                None => {
                    let (sender, receiver) = watch::channel(None);
                    in_flight.insert(question.clone(), receiver);
                    (Some(sender), None)
                }
            }
        };
        if let Some(mut receiver) = existing {
            let outcome = receiver.wait_for(Option::is_some).await;
            return outcome.ok().and_then(|outcome| outcome.clone()).unwrap_or(Err(ForwardError::Abandoned));
        }
        let _flight = Flight { forwarder: self, question };
        let outcome = match tokio::time::timeout(TOTAL_TIMEOUT, self.ask_servers(question)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(ForwardError::TimedOut),
        };
        if let Ok(reply) = &outcome {
            self.cache().put(question.clone(), reply, self.env.instant());
        }
        if let Some(sender) = sender {
            sender.send_replace(Some(outcome.clone()));
        }
        outcome
    }

    /// Each server in turn, the one that answered last first, until one answers.
    async fn ask_servers(&self, question: &Question) -> Outcome {
        let servers = self.upstreams.servers(self.env.instant());
        let first = self.preferred.load(Ordering::Relaxed);
        let mut error = ForwardError::NoUpstream;
        for turn in 0..servers.len() {
            let at = (first + turn) % servers.len();
            let server = servers[at];
            let answered = tokio::time::timeout(SERVER_TIMEOUT, self.ask_server(server, question)).await;
            match answered.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
                Ok(message) => {
                    self.preferred.store(at, Ordering::Relaxed);
                    return Ok(Arc::new(Reply {
                        code: message.metadata.response_code,
                        authentic_data: message.metadata.authentic_data,
                        answers: message.answers,
                        authorities: message.authorities,
                    }));
                }
                Err(failed) => error = ForwardError::Failed { server, error: Arc::new(failed) },
            }
        }
        Err(error)
    }

    async fn ask_server(&self, server: SocketAddr, question: &Question) -> io::Result<Message> {
        let id = u16::try_from(self.env.random().below(1 << 16)).unwrap_or_default();
        let request = request(id, question).to_vec().map_err(io::Error::other)?;
        let answer = ask_udp(server, id, question, &request).await?;
        if answer.metadata.truncation {
            return ask_tcp(server, id, question, &request).await;
        }
        Ok(answer)
    }
}

/// Takes the question out of those in flight, also when the task is dropped.
struct Flight<'a> {
    forwarder: &'a Forwarder,
    question: &'a Question,
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        self.forwarder.in_flight().remove(self.question);
    }
}

fn request(id: u16, question: &Question) -> Message {
    let mut message = Message::new(id, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.metadata.checking_disabled = question.checking_disabled;
    message.add_query(Query::query(question.name.clone(), question.kind));
    let mut edns = Edns::new();
    edns.set_max_payload(MAX_UDP_PAYLOAD).set_version(0).set_dnssec_ok(question.dnssec_ok);
    message.set_edns(edns);
    message
}

/// Whether a message is the answer to our question, and not somebody's guess.
fn answers(message: &Message, id: u16, question: &Question) -> bool {
    let same = |query: &Query| {
        query.name() == &question.name && query.query_type() == question.kind && query.query_class() == DNSClass::IN
    };
    message.metadata.id == id
        && message.metadata.message_type == MessageType::Response
        && matches!(message.queries.as_slice(), [query] if same(query))
}

async fn ask_udp(server: SocketAddr, id: u16, question: &Question, request: &[u8]) -> io::Result<Message> {
    // A socket of its own, and so a port of its own, for each question: two numbers to guess for a forger.
    let any: SocketAddr = if server.is_ipv4() { ([0u8; 4], 0).into() } else { ([0u8; 16], 0).into() };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(server).await?;
    socket.send(request).await?;
    let mut buffer = [0; 4096];
    loop {
        let read = socket.recv(&mut buffer).await?;
        if let Ok(message) = Message::from_vec(&buffer[..read])
            && answers(&message, id, question)
        {
            return Ok(message);
        }
    }
}

async fn ask_tcp(server: SocketAddr, id: u16, question: &Question, request: &[u8]) -> io::Result<Message> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(request.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes(), request].concat()).await?;
    let mut buffer = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut buffer).await?;
    let message = Message::from_vec(&buffer).map_err(io::Error::other)?;
    if answers(&message, id, question) { Ok(message) } else { Err(io::ErrorKind::InvalidData.into()) }
}
