//! Cgroups that systemd makes: a stand-in on a real bus says what it was asked, and answers as
//! `org.freedesktop.systemd1(5)` has it. The end-to-end test `hosts` has the real one.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use zbus::object_server::SignalEmitter;
use zbus::{ObjectPath, OwnedObjectPath, OwnedVariant, Variant};

use super::bus::Bus;
use super::*;

type Properties = Vec<(String, OwnedVariant)>;

#[derive(Default)]
struct State {
    /// The numbers among the properties of each slice that is there.
    units: BTreeMap<String, BTreeMap<String, u64>>,
    jobs: u32,
    /// Whether somebody wants to hear of ends: it tells nobody else.
    is_heard: bool,
}

impl State {
    fn set(&mut self, unit: &str, properties: Properties) {
        let unit = self.units.entry(unit.to_owned()).or_default();
        for (name, value) in properties {
            match &*value {
                Variant::U64(number) => drop(unit.insert(name, *number)),
                Variant::Bool(_) | Variant::Str(_) => {}
                other => panic!("{name} is no {other:?}"),
            }
        }
    }

    fn job(&mut self) -> (u32, OwnedObjectPath) {
        self.jobs += 1;
        let path = format!("/org/freedesktop/systemd1/job/{}", self.jobs);
        (self.jobs, ObjectPath::try_from(path).expect("a path").into())
    }
}

/// The stand-in. Cheap to clone; all clones are the same.
#[derive(Clone, Default)]
struct Systemd(Arc<Mutex<State>>);

#[derive(Debug, zbus::DBusError)]
#[zbus(prefix = "org.freedesktop.systemd1")]
enum Refusal {
    #[zbus(error)]
    Bus(zbus::Error),
    UnitExists(String),
    NoSuchUnit(String),
}

#[zbus::interface(name = "org.freedesktop.systemd1.Manager")]
impl Systemd {
    fn subscribe(&self) {
        self.state().is_heard = true;
    }

    async fn start_transient_unit(
        &self,
        #[zbus(signal_emitter)] emitter: SignalEmitter<'_>,
        name: String,
        mode: String,
        properties: Properties,
        auxiliary: Vec<(String, Properties)>,
    ) -> Result<OwnedObjectPath, Refusal> {
        assert_eq!((mode.as_str(), auxiliary.len()), ("replace", 0));
        let (id, job) = {
            let mut state = self.state();
            if state.units.contains_key(&name) {
                return Err(Refusal::UnitExists(name));
            }
            state.set(&name, properties);
            state.job()
        };
        self.end(&emitter, id, &job, &name).await?;
        Ok(job)
    }

    fn set_unit_properties(&self, name: String, runtime: bool, properties: Properties) -> Result<(), Refusal> {
        assert!(runtime, "what is set lasts no longer than the machine runs");
        let mut state = self.state();
        if !state.units.contains_key(&name) {
            return Err(Refusal::NoSuchUnit(name));
        }
        state.set(&name, properties);
        Ok(())
    }

    async fn stop_unit(
        &self,
        #[zbus(signal_emitter)] emitter: SignalEmitter<'_>,
        name: String,
        mode: String,
    ) -> Result<OwnedObjectPath, Refusal> {
        assert_eq!(mode, "replace");
        let (id, job) = {
            let mut state = self.state();
            if state.units.remove(&name).is_none() {
                return Err(Refusal::NoSuchUnit(name));
            }
            state.job()
        };
        self.end(&emitter, id, &job, &name).await?;
        Ok(job)
    }

    #[zbus(signal)]
    async fn job_removed(
        emitter: &SignalEmitter<'_>,
        id: u32,
        job: OwnedObjectPath,
        unit: &str,
        result: &str,
    ) -> zbus::Result<()>;
}

impl Systemd {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn end(
        &self,
        emitter: &SignalEmitter<'_>,
        id: u32,
        job: &OwnedObjectPath,
        unit: &str,
    ) -> Result<(), zbus::Error> {
        let is_heard = self.state().is_heard;
        if is_heard { Self::job_removed(emitter, id, job.clone(), unit, "done").await } else { Ok(()) }
    }

    /// Puts it on a bus, for as long as the connection lasts.
    async fn serve(bus: &Bus) -> (Self, zbus::Connection) {
        let this = Self::default();
        let builder = zbus::connection::Builder::address(bus.address.as_str());
        let served = builder.serve_at("/org/freedesktop/systemd1", this.clone()).name("org.freedesktop.systemd1");
        let connection = served.build().await.expect("a connection with the bus");
        (this, connection)
    }

    /// A number that a slice is set to.
    fn number(&self, slice: &str, property: &str) -> Option<u64> {
        self.state().units.get(slice)?.get(property).copied()
    }
}

#[tokio::test]
async fn slices_are_asked_of_systemd_and_given_back() {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::create_dir_all(dir.path().join("run/systemd")).expect("made");
    let bus = Bus::start(&dir.path().join("run"));
    let (systemd, _connection) = Systemd::serve(&bus).await;
    let configure = |config: &mut Config| {
        config.cgroups.driver = CgroupDriver::Systemd;
        config.cgroups.systemd_runs = config.cri_socket.with_file_name("systemd");
        config.cgroups.bus_socket = config.cri_socket.with_file_name("bus");
    };
    let stage = Stage::within(dir, &["image:1"], configure).await;
    let instance = Instance::new(stage.dir.path().join("data"), stage.dir.path().join("run")).name().replace('-', "_");
    let is_v2 = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    let (memory, shares) = if is_v2 { ("MemoryMax", "CPUWeight") } else { ("MemoryLimit", "CPUShares") };

    // What all pods may have together.
    let pods = format!("{instance}-kubepods.slice");
    stage.until("a limit of all pods", async || systemd.number(&pods, memory).filter(|bytes| *bytes > 0)).await;
    let class = |name: &str| format!("{instance}-kubepods-{name}.slice");
    let least = if is_v2 { 1 } else { 2 };
    assert_eq!(systemd.number(&class("besteffort"), shares), Some(least));

    let limited = web().with(|pod| {
        let resources = json!({"requests": {"cpu": "500m"}, "limits": {"cpu": "1500m", "memory": "64Mi"}});
        first(pod).resources = Some(serde_json::from_value(resources).expect("resources"));
    });
    stage.create(limited).await;
    stage.until_phase("web", "Running").await;
    let slice = class("burstable-poduid_web");
    let path = format!("/{instance}.slice/{pods}/{}/{slice}", class("burstable"));
    assert_eq!(stage.runtime.cgroup_parents(), [path]);
    assert_eq!(systemd.number(&slice, memory), Some(64 << 20));
    assert_eq!(systemd.number(&slice, "CPUQuotaPerSecUSec"), Some(1_500_000));
    assert_eq!(systemd.number(&slice, "TasksMax"), Some(u64::MAX), "there is no limit");
    let half = if is_v2 { 20 } else { 512 };
    let shared = async || systemd.number(&class("burstable"), shares).filter(|shares| *shares == half);
    stage.until("shares of burstable pods", shared).await;

    stage.delete("web").await;
    let gone = async || (!systemd.state().units.contains_key(&slice)).then_some(());
    stage.until("the end of the slice", gone).await;
    assert!(systemd.state().units.contains_key(&pods), "slices of other pods stay");
}
