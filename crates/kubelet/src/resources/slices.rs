//! Slices as systemd keeps them, asked for over the machine's bus.
//!
//! Whoever makes cgroups by hand on a machine with systemd has them changed or taken away by it sooner or later: it
//! holds the tree for its own. What it has no property for is written into the kernel's files afterwards.
//!
//! Upstream: `org.freedesktop.systemd1.Manager` in `org.freedesktop.systemd1(5)`.

use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

use futures::StreamExt;
use serde::Serialize;
use zbus::names::OwnedUniqueName;
use zbus::{Connection, DynamicType, MatchRule, MessageStream, OwnedObjectPath, Variant};

use super::CgroupSettings;
use super::cgroups::{GroupLimits, PodLimits};

const NAME: &str = "org.freedesktop.systemd1";
const PATH: &str = "/org/freedesktop/systemd1";
const INTERFACE: &str = "org.freedesktop.systemd1.Manager";
const UNIT_EXISTS: &str = "org.freedesktop.systemd1.UnitExists";
const NO_SUCH_UNIT: &str = "org.freedesktop.systemd1.NoSuchUnit";
/// What goes before another job of the same unit: all of ours do.
const REPLACE: &str = "replace";
/// How long systemd may take for what it has begun.
const PATIENCE: Duration = Duration::from_secs(30);
/// systemd counts time in hundredths of a second.
const QUOTA_STEP: u64 = 10_000;

/// A property of a unit.
type Property<'a> = (&'a str, Variant<'a>);

/// A slice that systemd does not make, set or remove.
#[derive(Debug, thiserror::Error)]
pub enum SliceError {
    /// It refuses, or cannot be reached.
    #[error(transparent)]
    Bus(#[from] zbus::Error),
    /// The machine's bus cannot be reached.
    #[error("cannot connect to {} (is dbus running?): {source}", socket.display())]
    NoBus {
        /// Where it is.
        socket: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// What it began has come to nothing.
    #[error("its job ended as {0}")]
    Job(String),
    /// It does not say how what it began has ended.
    #[error("its job did not end within {} seconds", PATIENCE.as_secs())]
    Silence,
}

/// What a slice is limited to. What is absent stays as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SliceLimits {
    cpu_shares: Option<i64>,
    /// Time and the period in which it is given; without the time there is no limit.
    cpu_time: Option<(Option<i64>, i64)>,
    memory: Option<Option<i64>>,
    pids: Option<Option<i64>>,
}

impl From<&GroupLimits> for SliceLimits {
    fn from(limits: &GroupLimits) -> Self {
        let GroupLimits { cpu_shares, memory, pids } = *limits;
        Self { cpu_shares, cpu_time: None, memory: memory.map(Some), pids: pids.map(Some) }
    }
}

impl From<&PodLimits> for SliceLimits {
    fn from(limits: &PodLimits) -> Self {
        Self {
            cpu_shares: Some(limits.cpu_shares),
            cpu_time: Some((limits.cpu_quota, limits.cpu_period)),
            memory: Some(limits.memory),
            pids: Some(limits.pids),
        }
    }
}

impl SliceLimits {
    /// The same in systemd's words, of which version 1 of cgroups has its own.
    fn properties(&self, is_v2: bool) -> Vec<Property<'static>> {
        let most = |limit: Option<i64>| limit.map_or(u64::MAX, i64::unsigned_abs);
        let mut found = Vec::new();
        let mut put = |name, number: u64| found.push((name, Variant::from(number)));
        if let Some(shares) = self.cpu_shares {
            match is_v2 {
                true => put("CPUWeight", super::cgroups::weight(shares).unsigned_abs()),
                false => put("CPUShares", shares.max(2).unsigned_abs()),
            }
        }
        if let Some((quota, period)) = self.cpu_time {
            let period = if period > 0 { period.unsigned_abs() } else { 100_000 };
            put("CPUQuotaPeriodUSec", period);
            let in_second =
                |quota: i64| (quota.unsigned_abs().saturating_mul(1_000_000) / period).next_multiple_of(QUOTA_STEP);
            put("CPUQuotaPerSecUSec", quota.filter(|quota| *quota > 0).map_or(u64::MAX, in_second));
        }
        if let Some(memory) = self.memory {
            put(if is_v2 { "MemoryMax" } else { "MemoryLimit" }, most(memory));
        }
        if let Some(pids) = self.pids {
            put("TasksMax", most(pids));
        }
        found
    }
}

/// The systemd of this machine.
#[derive(Clone, Debug)]
pub struct Slices {
    bus: PathBuf,
    is_v2: bool,
}

impl Slices {
    /// The one of this machine; nothing where it runs none.
    pub fn find(settings: &CgroupSettings, is_v2: bool) -> Option<Self> {
        settings.systemd_runs.is_dir().then(|| Self { bus: settings.bus_socket.clone(), is_v2 })
    }

    /// Makes a slice, or sets the one that is there.
    pub async fn ensure(&self, path: &str, limits: &SliceLimits) -> Result<(), SliceError> {
        let (bus, slice) = (self.open().await?, last(path));
        if !bus.start(slice, self.accounting(), limits.properties(self.is_v2)).await? {
            bus.set(slice, limits.properties(self.is_v2)).await?;
        }
        Ok(())
    }

    /// Sets a slice that is there.
    pub async fn set(&self, path: &str, limits: &SliceLimits) -> Result<(), SliceError> {
        self.open().await?.set(last(path), limits.properties(self.is_v2)).await
    }

    /// Stops a slice with everything in it; one that is gone already is no error.
    pub async fn remove(&self, path: &str) -> Result<(), SliceError> {
        self.open().await?.job("StopUnit", &(last(path), REPLACE), NO_SUCH_UNIT).await?;
        Ok(())
    }

    /// A connection for what is done now: the bus may be started anew meanwhile.
    async fn open(&self) -> Result<Bus, SliceError> {
        let stream =
            UnixStream::connect(&self.bus).map_err(|source| SliceError::NoBus { socket: self.bus.clone(), source })?;
        Ok(Bus(zbus::connection::Builder::unix_stream(stream).build().await?))
    }

    /// What is counted of every slice, so that the kernel has the controllers there.
    fn accounting(&self) -> [&'static str; 4] {
        let blocks = if self.is_v2 { "IOAccounting" } else { "BlockIOAccounting" };
        ["CPUAccounting", "MemoryAccounting", "TasksAccounting", blocks]
    }
}

/// A connection with the machine's bus. The socket that systemd has for root is no way to it: what comes from there has a
/// sender that D-Bus does not allow, and `zbus` refuses.
struct Bus(Connection);

impl Bus {
    /// Starts a slice; false where it is there already.
    async fn start(&self, name: &str, counted: [&str; 4], limits: Vec<Property<'_>>) -> Result<bool, SliceError> {
        let mut properties: Vec<Property<'_>> = vec![
            ("Description", Variant::from(format!("Kubernetes: {name}"))),
            // The machine going down must not end pods before the kubelet does.
            ("DefaultDependencies", Variant::from(false)),
        ];
        properties.extend(counted.into_iter().map(|property| (property, Variant::from(true))));
        properties.extend(limits);
        let auxiliary: Vec<(&str, Vec<Property<'_>>)> = Vec::new();
        self.job("StartTransientUnit", &(name, REPLACE, properties, auxiliary), UNIT_EXISTS).await
    }

    async fn set(&self, name: &str, properties: Vec<Property<'_>>) -> Result<(), SliceError> {
        if !properties.is_empty() {
            // Until the machine is started anew: the kubelet sets it again then.
            self.call("SetUnitProperties", &(name, true, properties)).await?;
        }
        Ok(())
    }

    /// Has systemd do something and waits for its end; false where it says that there is nothing to do.
    async fn job<B>(&self, method: &str, body: &B, idle: &str) -> Result<bool, SliceError>
    where
        B: Serialize + DynamicType,
    {
        // Its end may be told as soon as it has begun.
        let signals = MatchRule::builder().msg_type(zbus::message::Type::Signal).path(PATH).interface(INTERFACE);
        let ends = signals.member("JobRemoved").build()?;
        let mut told = MessageStream::for_match_rule(ends, &self.0, None).await?;
        // It tells those who have asked for it.
        self.call("Subscribe", &()).await?;
        let work = async {
            let mut ended = Vec::new();
            let mut call = pin!(self.call(method, body));
            let answer = loop {
                tokio::select! {
                    answer = &mut call => break answer,
                    // systemd tells of all units: what nobody reads would keep the answer back.
                    Some(message) = told.next() => ended.extend(ended_job(&message?)),
                }
            };
            let answer = match answer {
                Err(SliceError::Bus(zbus::Error::MethodError(name, ..))) if name.as_str() == idle => return Ok(false),
                answer => answer?,
            };
            let job: OwnedObjectPath = answer.body().deserialize()?;
            // Anybody may send signals.
            let systemd = answer.header().sender().map(|sender| sender.to_owned().into());
            loop {
                if let Some(end) =
                    ended.iter().find(|end: &&JobEnd| end.job == job && Some(&end.sender) == systemd.as_ref())
                {
                    return if end.result == "done" { Ok(true) } else { Err(SliceError::Job(end.result.clone())) };
                }
                let Some(message) = told.next().await else { return Err(SliceError::Silence) };
                ended.extend(ended_job(&message?));
            }
        };
        tokio::time::timeout(PATIENCE, work).await.unwrap_or(Err(SliceError::Silence))
    }

    async fn call<B>(&self, method: &str, body: &B) -> Result<zbus::Message, SliceError>
    where
        B: Serialize + DynamicType,
    {
        Ok(self.0.call_method(Some(NAME), PATH, Some(INTERFACE), method, body).await?)
    }
}

/// How a job ended, and who says so.
struct JobEnd {
    sender: OwnedUniqueName,
    job: OwnedObjectPath,
    result: String,
}

fn ended_job(message: &zbus::Message) -> Option<JobEnd> {
    let (_, job, _, result): (u32, OwnedObjectPath, String, String) = message.body().deserialize().ok()?;
    Some(JobEnd { sender: message.header().sender()?.to_owned().into(), job, result })
}

/// The name of the last slice of a path.
fn last(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}
