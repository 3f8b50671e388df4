//! What the kubelet says to logind, and hears of it: that a shutdown has to wait, and that one begins.

use std::path::{Path, PathBuf};
use std::time::Duration;

use base::Env;
use zbus::OwnedFd;

/// Who holds a shutdown up, as `systemd-inhibit --list` shows it.
const WHO: &str = "kubelet";
const WHY: &str = "Kubelet needs time to handle node shutdown";
/// Above the files of administrators, which have lower numbers.
const DROP_IN: &str = "99-kubelet.conf";

/// How long it may take to read its configuration anew.
const RELOAD: Duration = Duration::from_millis(100);
const RELOADS: usize = 50;

/// `org.freedesktop.login1.Manager`, as far as it is used.
#[zbus::proxy(
    interface = "org.freedesktop.login1.Manager",
    default_service = "org.freedesktop.login1",
    default_path = "/org/freedesktop/login1"
)]
trait Login {
    /// Holds something up for as long as what comes back is open.
    fn inhibit(&self, what: &str, who: &str, why: &str, mode: &str) -> zbus::Result<OwnedFd>;

    /// A shutdown begins, or was given up.
    #[zbus(signal)]
    fn prepare_for_shutdown(&self, start: bool) -> zbus::Result<()>;

    /// Whether one has begun.
    #[zbus(property(emits_changed_signal = "false"))]
    fn preparing_for_shutdown(&self) -> zbus::Result<bool>;

    /// The longest time, in microseconds, for which a shutdown waits.
    #[zbus(property(emits_changed_signal = "false"), name = "InhibitDelayMaxUSec")]
    fn inhibit_delay_max(&self) -> zbus::Result<u64>;
}

/// `org.freedesktop.systemd1.Manager`, as far as it is used.
#[zbus::proxy(
    interface = "org.freedesktop.systemd1.Manager",
    default_service = "org.freedesktop.systemd1",
    default_path = "/org/freedesktop/systemd1"
)]
trait Systemd {
    /// Sends a signal to processes of a unit.
    fn kill_unit(&self, name: &str, who: &str, signal: i32) -> zbus::Result<()>;
}

/// Why a shutdown cannot be held up.
#[derive(Debug, thiserror::Error)]
pub enum LogindError {
    /// There is no bus, or nobody on it who answers.
    #[error("logind cannot be asked: {0}")]
    Bus(#[from] zbus::Error),
    /// It does not wait for long enough, and cannot be told to.
    #[error("logind waits {has:?} for a shutdown and not {wants:?}")]
    TooShort {
        /// How long it waits.
        has: Duration,
        /// How long it should.
        wants: Duration,
    },
    /// Its configuration cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// A connection with logind.
pub struct Logind {
    connection: zbus::Connection,
    login: LoginProxy<'static>,
}

/// Holds a shutdown up until it is dropped.
pub struct Inhibitor(#[expect(dead_code, reason = "it counts for as long as it is open")] OwnedFd);

impl Logind {
    /// Connects with the bus at an address, or with the machine's.
    pub async fn connect(address: Option<&str>) -> Result<Self, LogindError> {
        let connection = match address {
            Some(address) => zbus::connection::Builder::address(address).build().await?,
            None => zbus::Connection::system().await?,
        };
        let login = LoginProxy::builder(&connection).cache_properties(zbus::proxy::CacheProperties::No).build().await?;
        Ok(Self { connection, login })
    }

    /// Sees to it that a shutdown waits for so long, by a file below `conf_dir` if it has to be.
    pub async fn wait_at_least(&self, wants: Duration, conf_dir: &Path, env: &Env) -> Result<(), LogindError> {
        if self.delay().await? >= wants {
            return Ok(());
        }
        let path = conf_dir.join(DROP_IN);
        // Whole seconds, and none too few.
        let seconds = wants.as_millis().div_ceil(1000);
        let text = format!("# Written by the kubelet\n[Login]\nInhibitDelayMaxSec={seconds}\n");
        let written = std::fs::create_dir_all(conf_dir).and_then(|()| std::fs::write(&path, text));
        written.map_err(|source| LogindError::Write { path, source })?;
        let systemd = SystemdProxy::new(&self.connection).await?;
        systemd.kill_unit("systemd-logind.service", "all", nix::libc::SIGHUP).await?;
        // It reads its configuration in its own time.
        for _ in 0..RELOADS {
            if self.delay().await? >= wants {
                return Ok(());
            }
            env.sleep(RELOAD).await;
        }
        Err(LogindError::TooShort { has: self.delay().await?, wants })
    }

    async fn delay(&self) -> Result<Duration, LogindError> {
        Ok(Duration::from_micros(self.login.inhibit_delay_max().await?))
    }

    /// Whether a shutdown has begun already.
    pub async fn is_shutting_down(&self) -> Result<bool, LogindError> {
        Ok(self.login.preparing_for_shutdown().await?)
    }

    /// Holds up the next shutdown.
    pub async fn inhibit(&self) -> Result<Inhibitor, LogindError> {
        Ok(Inhibitor(self.login.inhibit("shutdown", WHO, WHY, "delay").await?))
    }

    /// What is heard of shutdowns from now on.
    pub async fn shutdowns(&self) -> Result<Shutdowns, LogindError> {
        Ok(Shutdowns(self.login.receive_prepare_for_shutdown().await?))
    }
}

/// What is heard of shutdowns.
pub struct Shutdowns(PrepareForShutdownStream);

impl Shutdowns {
    /// The next word: true where a shutdown begins, false where it was given up. Nothing when the bus is gone.
    pub async fn next(&mut self) -> Option<bool> {
        loop {
            let signal = futures::StreamExt::next(&mut self.0).await?;
            if let Ok(arguments) = signal.args() {
                return Some(arguments.start);
            }
        }
    }
}
