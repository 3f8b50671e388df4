//! The machine's shutdown, by a real bus: its daemon is Debian's, logind and systemd on it are the test's.

use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use zbus::object_server::SignalEmitter;

use super::bus::Bus;
use super::*;

const PATH: &str = "/org/freedesktop/login1";

/// logind, as far as the kubelet knows it.
struct Login {
    delay: Arc<AtomicU64>,
    /// The other ends of what those have who hold a shutdown up.
    held: Arc<Mutex<Vec<OwnedFd>>>,
    begun: Arc<AtomicBool>,
}

#[zbus::interface(name = "org.freedesktop.login1.Manager")]
impl Login {
    fn inhibit(&self, what: &str, who: &str, _why: &str, mode: &str) -> zbus::OwnedFd {
        assert_eq!((what, who, mode), ("shutdown", "kubelet", "delay"));
        let (ours, theirs) = std::io::pipe().expect("a pipe");
        self.held.lock().unwrap_or_else(PoisonError::into_inner).push(ours.into());
        OwnedFd::from(theirs).into()
    }

    #[zbus(property, name = "InhibitDelayMaxUSec")]
    fn inhibit_delay_max(&self) -> u64 {
        self.delay.load(Ordering::SeqCst)
    }

    #[zbus(property)]
    fn preparing_for_shutdown(&self) -> bool {
        self.begun.load(Ordering::SeqCst)
    }

    #[zbus(signal)]
    async fn prepare_for_shutdown(emitter: &SignalEmitter<'_>, start: bool) -> zbus::Result<()>;
}

/// systemd, which has logind read its configuration.
struct Systemd {
    delay: Arc<AtomicU64>,
    file: PathBuf,
}

#[zbus::interface(name = "org.freedesktop.systemd1.Manager")]
impl Systemd {
    fn kill_unit(&self, name: &str, who: &str, signal: i32) {
        assert_eq!((name, who, signal), ("systemd-logind.service", "all", 1));
        let text = std::fs::read_to_string(&self.file).expect("the kubelet wrote it");
        let seconds = text.lines().find_map(|line| line.strip_prefix("InhibitDelayMaxSec=")).expect("a delay");
        self.delay.store(seconds.parse::<u64>().expect("a number") * 1_000_000, Ordering::SeqCst);
    }
}

struct Machine {
    bus: Bus,
    connection: zbus::Connection,
    held: Arc<Mutex<Vec<OwnedFd>>>,
    delay: Arc<AtomicU64>,
    begun: Arc<AtomicBool>,
}

impl Machine {
    /// A machine whose logind waits five seconds unless it is told to wait longer.
    async fn start(dir: &Path) -> Self {
        let bus = Bus::start(dir);
        let (delay, held, begun) = (Arc::new(AtomicU64::new(5_000_000)), Arc::default(), Arc::default());
        let login = Login { delay: Arc::clone(&delay), held: Arc::clone(&held), begun: Arc::clone(&begun) };
        let systemd = Systemd { delay: Arc::clone(&delay), file: dir.join("logind.conf.d/99-kubelet.conf") };
        let connection = async {
            zbus::connection::Builder::address(bus.address.as_str())
                .serve_at(PATH, login)
                .serve_at("/org/freedesktop/systemd1", systemd)
                .name("org.freedesktop.login1")
                .name("org.freedesktop.systemd1")
                .build()
                .await
        };
        let connection = connection.await.expect("a connection with the bus");
        Self { bus, connection, held, delay, begun }
    }

    async fn say(&self, begins: bool) {
        self.begun.store(begins, Ordering::SeqCst);
        let emitter = SignalEmitter::new(&self.connection, PATH).expect("a path");
        Login::prepare_for_shutdown(&emitter, begins).await.expect("said");
    }

    fn holders(&self) -> usize {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Takes what one has who holds a shutdown up, and waits until he lets go.
    async fn let_go(&self) {
        let end = self.held.lock().unwrap_or_else(PoisonError::into_inner).pop().expect("somebody holds it up");
        let read = tokio::task::spawn_blocking(move || std::fs::File::from(end).read(&mut [0]));
        let read = tokio::time::timeout(DEADLINE, read).await.expect("the shutdown is let go on");
        assert_eq!(read.expect("joined").expect("read"), 0);
    }
}

impl Stage {
    /// Starts the kubelet anew, on a machine with that bus.
    async fn on_bus(&mut self, bus: &str, fields: serde_json::Value) {
        self.stop().await;
        self.configuration.flags = fields.as_object().cloned().expect("fields");
        self.bus = Some((bus.to_owned(), self.dir.path().join("logind.conf.d")));
        self.start();
    }

    /// Waits until the node says that it is ready, or why it is not.
    async fn until_node(&self, status: &str, message: &str) {
        let nodes: Api<Node> = Api::all(self.client.clone());
        let said = async || {
            let conditions = nodes.get("n1").await.ok()?.status?.conditions?;
            let ready = conditions.into_iter().find(|condition| condition.type_ == "Ready")?;
            Some(()).filter(|()| ready.status == status && ready.message.as_deref() == Some(message))
        };
        self.until(&format!("{status}: {message}"), said).await;
    }

    async fn until_held_up(&self, machine: &Machine) {
        self.until("who holds up a shutdown", async || Some(()).filter(|()| machine.holders() == 1)).await;
    }

    async fn check_terminated(&self, name: &str) {
        let status = self.until_phase(name, "Failed").await;
        assert_eq!(status.reason.as_deref(), Some("Terminated"));
        assert_eq!(status.message.as_deref(), Some("Pod was terminated in response to imminent node shutdown."));
    }

    /// A figure that the kubelet shows, in whole seconds; none where it does not.
    async fn shown_seconds(&self, name: &str) -> Option<u64> {
        let (_, body) = self.get("/metrics", "operators").await;
        let value = body.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok())?;
        Some(Duration::from_secs_f64(value).as_secs())
    }
}

const START: &str = "kubelet_graceful_shutdown_start_time_seconds";
const END: &str = "kubelet_graceful_shutdown_end_time_seconds";

#[tokio::test]
async fn a_shutdown_waits_until_pods_have_ended_the_least_important_first() {
    let mut stage = Stage::new(&["image:1"]).await;
    let machine = Machine::start(stage.dir.path()).await;
    let fields = json!({"shutdownGracePeriod": "40s", "shutdownGracePeriodCriticalPods": "10s"});
    stage.on_bus(&machine.bus.address, fields).await;
    stage.until_held_up(&machine).await;
    assert_eq!(machine.delay.load(Ordering::SeqCst), 40_000_000);
    assert_eq!(stage.shown_seconds(START).await, None);

    stage.create(pod("web").container("usual", "image:1")).await;
    stage.create(pod("vital").container("critical", "image:1").priority(2_000_001_000)).await;
    stage.manifest("own.yaml", Some(OWN));
    for name in ["web", "vital", "own-n1"] {
        stage.until_phase(name, "Running").await;
    }
    machine.say(true).await;
    stage.until_node("False", "node is shutting down").await;
    for name in ["web", "vital", "own-n1"] {
        stage.check_terminated(name).await;
    }
    machine.let_go().await;
    let calls = stage.runtime.calls();
    let stopped = |name: &str| calls.iter().position(|call| call.starts_with(&format!("StopContainer {name}")));
    assert!(stopped("usual").expect("stopped") < stopped("critical").expect("stopped"), "{calls:?}");
    let (start, end) = (stage.shown_seconds(START).await, stage.shown_seconds(END).await);
    assert!(start.is_some_and(|start| start > 0) && start <= end, "{start:?} {end:?}");
    stage.create(pod("late").container("c", "image:1")).await;
    let late = stage.until_phase("late", "Failed").await;
    assert_eq!(late.reason.as_deref(), Some("NodeShutdown"));
    let message = "Pod was rejected: Pod was rejected as the node is shutting down.";
    assert_eq!(late.message.as_deref(), Some(message));

    machine.say(false).await;
    stage.until_held_up(&machine).await;
    stage.until_node("True", "kubelet is posting ready status").await;
    stage.create(pod("next").container("c", "image:1")).await;
    stage.until_phase("next", "Running").await;
    // After the shutdown, what manifests ask for runs again, and when it was is still known.
    stage.stop().await;
    machine.let_go().await;
    stage.start();
    stage.until_phase("own-n1", "Running").await;
    assert_eq!(stage.status("web").await.phase.as_deref(), Some("Failed"));
    assert_eq!((stage.shown_seconds(START).await, stage.shown_seconds(END).await), (start, end));
}

const OWN: &str =
    "{apiVersion: v1, kind: Pod, metadata: {name: own}, spec: {containers: [{name: own, image: \"image:1\"}]}}";

#[tokio::test]
async fn a_kubelet_that_starts_during_a_shutdown_takes_no_pods() {
    let mut stage = Stage::new(&["image:1"]).await;
    let machine = Machine::start(stage.dir.path()).await;
    machine.say(true).await;
    let fields = json!({"shutdownGracePeriodByPodPriority": [{"priority": 0, "shutdownGracePeriodSeconds": 3}]});
    stage.on_bus(&machine.bus.address, fields).await;
    stage.until_node("False", "node is shutting down").await;
    stage.create(pod("web").container("usual", "image:1")).await;
    assert_eq!(stage.until_phase("web", "Failed").await.reason.as_deref(), Some("NodeShutdown"));
    machine.say(false).await;
    stage.until_held_up(&machine).await;
    stage.until_node("True", "kubelet is posting ready status").await;
}

#[tokio::test]
async fn without_a_bus_the_kubelet_goes_on() {
    let mut stage = Stage::new(&["image:1"]).await;
    let nowhere = format!("unix:path={}", stage.dir.path().join("nowhere").display());
    stage.on_bus(&nowhere, json!({"shutdownGracePeriod": "40s"})).await;
    stage.create(pod("web").container("usual", "image:1")).await;
    stage.until_phase("web", "Running").await;
    stage.stop().await;
}
