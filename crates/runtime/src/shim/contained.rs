//! A container, by whichever means it runs.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use libcontainer::container::Container;
use libcontainer::container::builder::ContainerBuilder;
use libcontainer::syscall::syscall::SyscallType;
use oci_spec::runtime::{Process, Spec};

use super::executor::ProgramExecutor;
use super::init::{InitError, explain, pipe, read_report, system};
use super::oci::OciContainer;
use super::protocol::{ShimConfig, state_dir};
use super::users::PodUser;
use crate::cgroup::{Cgroup, DeviceFilter};
use crate::disk;

/// The stdio of a process that is about to be made.
pub(super) enum ProcessStdio {
    /// A terminal, which is handed over on this socket.
    Console(PathBuf),
    /// Its input, output and errors.
    Pipes([OwnedFd; 3]),
}

/// The container of a shim.
pub(super) enum Contained {
    /// Made by libcontainer in this process; the first process reports how it becomes its program.
    Library { container: Box<Container>, report: Option<OwnedFd> },
    /// Made by another OCI runtime.
    Program(OciContainer),
}

impl ProcessStdio {
    /// Gives pipes to the user whose process this will be, who may want to open them by their names in `/dev`. What
    /// others made for a process (a device, a file) stays theirs.
    fn give_to(&self, uid: u32) -> Result<(), InitError> {
        let Self::Pipes(pipes) = self else { return Ok(()) };
        for pipe in pipes {
            let is_pipe = rustix::fs::fstat(pipe)
                .is_ok_and(|stat| rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::Fifo);
            if is_pipe {
                let owner = Some(rustix::fs::Uid::from_raw(uid));
                rustix::fs::fchown(pipe, owner, None).map_err(system("give a pipe to the container's user"))?;
            }
        }
        Ok(())
    }
}

impl Contained {
    /// Makes the container of `bundle`: its first process, which waits for [`Contained::start`].
    pub(super) fn create(bundle: &Path, config: &ShimConfig, stdio: ProcessStdio) -> Result<(Self, i32), InitError> {
        disk::create_dir(&state_dir(bundle))?;
        stdio.give_to(config.uid)?;
        if let Some(program) = &config.oci_runtime {
            let container = OciContainer::new(program, bundle, &config.id);
            let created = container.create(stdio);
            if created.is_err() {
                // It may keep more than the runtime knows of.
                let _ = container.delete();
            }
            return Ok((Self::Program(container), created?));
        }
        let (report, report_end) = pipe()?;
        let builder = builder(bundle, config, report_end, None, stdio, InitError::Create)?;
        let container = builder.as_init(bundle).with_systemd(false).build();
        let container = container.map_err(|err| InitError::Create(explain(&err)))?;
        let pid = container.pid().ok_or_else(|| InitError::Create("no process".to_owned()))?.as_raw();
        Ok((Self::Library { container: Box::new(container), report: Some(report) }, pid))
    }

    /// Limits the devices that the container's processes may use, where libcontainer has not: on cgroups of version 2.
    /// What makes the container's own nodes has run by now, and nothing of the container's has.
    pub(super) fn limit_devices(&self, bundle: &Path, config: &ShimConfig) -> Result<(), InitError> {
        let cgroup = Cgroup::new(&config.cgroup);
        // The kernel takes programs from nobody who is root of a user namespace only; other runtimes go without there.
        if matches!(self, Self::Program(_)) || !cgroup.is_v2() || in_user_namespace() {
            return Ok(());
        }
        let file = bundle.join("config.json");
        let spec: Spec = disk::read_json(&file)?.ok_or(InitError::NoConfig(file))?;
        let resources = spec.linux().as_ref().and_then(|linux| linux.resources().as_ref());
        let rules = resources.and_then(|resources| resources.devices().as_deref()).unwrap_or_default();
        cgroup.limit_devices(&DeviceFilter::new(rules)?)?;
        Ok(())
    }

    /// Lets the first process become its program.
    pub(super) fn start(&mut self) -> Result<(), InitError> {
        match self {
            Self::Library { container, report } => {
                container.start().map_err(|err| InitError::Start(explain(&err)))?;
                match report.take().map(read_report).transpose()?.flatten() {
                    None => Ok(()),
                    Some(problem) => Err(InitError::Start(problem)),
                }
            }
            Self::Program(container) => container.start(),
        }
    }

    /// Runs a process in the container.
    pub(super) fn exec(
        &self,
        bundle: &Path,
        config: &ShimConfig,
        process: &Process,
        stdio: ProcessStdio,
    ) -> Result<i32, InitError> {
        stdio.give_to(config.uid)?;
        let process_file = bundle.join("process.json");
        let result = self.exec_by(bundle, config, process.clone(), &process_file, stdio);
        disk::remove_file(&process_file)?;
        result
    }

    fn exec_by(
        &self,
        bundle: &Path,
        config: &ShimConfig,
        mut process: Process,
        process_file: &Path,
        stdio: ProcessStdio,
    ) -> Result<i32, InitError> {
        if let Self::Program(container) = self {
            disk::write_json(process_file, &process)?;
            return container.exec(process_file, stdio);
        }
        let user = config.users.as_ref().map(|namespace| PodUser::take(&mut process, namespace));
        let user = user.transpose().map_err(system("find the pod's users"))?;
        disk::write_json(process_file, &process)?;
        let (report, report_end) = pipe()?;
        let builder = builder(bundle, config, report_end, user, stdio, InitError::Start)?;
        let pid = builder.as_tenant().with_process(Some(process_file)).with_detach(true).build();
        let pid = pid.map_err(|err| InitError::Start(explain(&err)))?;
        match read_report(report)? {
            None => Ok(pid.as_raw()),
            Some(problem) => Err(InitError::Start(problem)),
        }
    }

    /// Removes what is kept of the container beside its bundle. The runtime removes what stays, but may not be there
    /// for a while.
    pub(super) fn delete(&mut self) {
        match self {
            Self::Library { container, .. } => drop(container.delete(true)),
            Self::Program(container) => drop(container.delete()),
        }
    }
}

/// Whether this process is not root of the machine.
fn in_user_namespace() -> bool {
    // Where it cannot be read, the filter is needed.
    let map = std::fs::read_to_string("/proc/self/uid_map");
    map.is_ok_and(|map| map.split_whitespace().ne(["0", "0", "4294967295"]))
}

fn builder(
    bundle: &Path,
    config: &ShimConfig,
    report: OwnedFd,
    user: Option<PodUser>,
    stdio: ProcessStdio,
    error: fn(String) -> InitError,
) -> Result<ContainerBuilder, InitError> {
    let builder = ContainerBuilder::new(config.id.clone(), SyscallType::default())
        .with_root_path(state_dir(bundle))
        .map_err(|err| error(explain(&err)))?
        .with_executor(ProgramExecutor::new(report, config.filter.clone(), user));
    Ok(match stdio {
        ProcessStdio::Console(socket) => builder.with_console_socket(Some(socket)),
        ProcessStdio::Pipes([stdin, stdout, stderr]) => {
            builder.with_stdin(stdin).with_stdout(stdout).with_stderr(stderr)
        }
    })
}
