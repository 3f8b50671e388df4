//! Which devices the processes of a cgroup of version 2 may use.
//!
//! Version 1 has a controller for that, to which libcontainer writes the rules. Version 2 has none: a program that is
//! attached to the cgroup is asked each time that a process opens a device or makes a node of one. [`DeviceFilter`]
//! makes that program of the same rules, and of what libcontainer allows every container on version 1, so that
//! containers find the same on both.

mod bpf;

use std::fs::File;
use std::io;
use std::ops::BitOr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType};
use rustix::process::{Resource, Rlimit};

pub(super) use bpf::Instruction;
use bpf::{Register, question};

use super::sys;

/// Why the devices of a cgroup are not limited.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DeviceFilterError {
    /// A rule is about what is no device.
    #[error("no device cgroup has rules for devices of type {0:?}")]
    Kind(&'static str),
    /// A rule is about a number that no device has.
    #[error("no device has number {0}")]
    Number(i64),
    /// A rule is about something else than reading, writing and making nodes.
    #[error("invalid device access {0:?}")]
    Access(String),
    /// The kernel does not take the program.
    #[error("cannot load the device filter: {0}")]
    Load(io::Error),
    /// It cannot be attached.
    #[error("cannot attach the device filter to {}: {source}", dir.display())]
    Attach {
        /// The cgroup's directory.
        dir: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Kinds of devices; the numbers are the kernel's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DeviceKind {
    Block = 1,
    Char = 2,
}

/// What is done with a device; the bits are the kernel's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Access(u8);

impl Access {
    const MKNOD: Self = Self(1);
    const READ: Self = Self(2);
    const WRITE: Self = Self(4);
    const ALL: Self = Self(7);

    fn parse(text: &str) -> Result<Self, DeviceFilterError> {
        text.chars().try_fold(Self(0), |all, letter| match letter {
            'r' => Ok(all | Self::READ),
            'w' => Ok(all | Self::WRITE),
            'm' => Ok(all | Self::MKNOD),
            _ => Err(DeviceFilterError::Access(text.to_owned())),
        })
    }

    /// All that this is not.
    fn others(self) -> Self {
        Self(Self::ALL.0 & !self.0)
    }
}

impl BitOr for Access {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Some devices, and what may be done with them.
///
/// A rule that allows is about a use if it covers all of it: whoever opens a device to read and to write needs both. One
/// that refuses is about a use if it covers any of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct DeviceRule {
    allow: bool,
    kind: DeviceKind,
    /// The major number, if not any.
    major: Option<i32>,
    /// The minor number, if not any.
    minor: Option<i32>,
    access: Access,
}

impl DeviceRule {
    const fn always(major: Option<i32>, minor: Option<i32>) -> Self {
        Self { allow: true, kind: DeviceKind::Char, major, minor, access: Access::ALL }
    }

    const fn nodes(kind: DeviceKind) -> Self {
        Self { allow: true, kind, major: None, minor: None, access: Access::MKNOD }
    }

    fn is_about_the_devices_of(&self, other: &Self) -> bool {
        (self.kind, self.major, self.minor) == (other.kind, other.major, other.minor)
    }

    /// The instructions that answer if the rule is about the use, and go on behind themselves if it is not.
    fn compile(&self) -> Vec<Instruction> {
        let mut code = vec![Instruction::jump_unless(Register::Kind, self.kind as i32)];
        if self.access != Access::ALL {
            code.push(Instruction::copy(Register::Answer, Register::Access));
            if self.allow {
                code.push(Instruction::and(Register::Answer, self.access.others().0.into()));
                code.push(Instruction::jump_unless(Register::Answer, 0));
            } else {
                code.push(Instruction::and(Register::Answer, self.access.0.into()));
                code.push(Instruction::jump_if(Register::Answer, 0));
            }
        }
        code.extend(self.major.map(|major| Instruction::jump_unless(Register::Major, major)));
        code.extend(self.minor.map(|minor| Instruction::jump_unless(Register::Minor, minor)));
        code.push(Instruction::set(Register::Answer, self.allow.into()));
        code.push(Instruction::exit());
        let mut left = code.len() as i16;
        for instruction in &mut code {
            left -= 1;
            if instruction.is_jump() {
                *instruction = instruction.over(left);
            }
        }
        code
    }
}

/// What libcontainer allows every container on version 1, whatever the rules are. A node may be made of any device, for
/// unpacking archives; it cannot be opened for that.
const ALWAYS: &[DeviceRule] = &[
    DeviceRule::always(Some(1), Some(3)), // null
    DeviceRule::always(Some(1), Some(5)), // zero
    DeviceRule::always(Some(1), Some(7)), // full
    DeviceRule::always(Some(5), Some(0)), // tty
    DeviceRule::always(Some(1), Some(9)), // urandom
    DeviceRule::always(Some(1), Some(8)), // random
    DeviceRule::nodes(DeviceKind::Char),
    DeviceRule::nodes(DeviceKind::Block),
    DeviceRule::always(Some(5), Some(1)),    // console
    DeviceRule::always(Some(136), None),     // pts/*
    DeviceRule::always(Some(5), Some(2)),    // ptmx
    DeviceRule::always(Some(10), Some(200)), // net/tun
];

/// The devices that the processes of a cgroup may use: the last rule that is about a use decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DeviceFilter {
    /// Whether uses are allowed that no rule is about.
    otherwise: bool,
    rules: Vec<DeviceRule>,
}

impl DeviceFilter {
    /// The filter of a container with these rules.
    pub(crate) fn new(rules: &[LinuxDeviceCgroup]) -> Result<Self, DeviceFilterError> {
        let mut filter = Self { otherwise: false, rules: Vec::new() };
        for rule in rules {
            filter.add(rule)?;
        }
        for rule in ALWAYS {
            filter.push(*rule);
        }
        Ok(filter)
    }

    fn add(&mut self, rule: &LinuxDeviceCgroup) -> Result<(), DeviceFilterError> {
        let kind = match rule.typ().unwrap_or_default() {
            // As on version 1, such a rule undoes those before it, and what else it says is not looked at.
            LinuxDeviceType::A => {
                *self = Self { otherwise: rule.allow(), rules: Vec::new() };
                return Ok(());
            }
            LinuxDeviceType::B => DeviceKind::Block,
            LinuxDeviceType::C | LinuxDeviceType::U => DeviceKind::Char,
            LinuxDeviceType::P => return Err(DeviceFilterError::Kind("p")),
        };
        let (major, minor) = (number(rule.major())?, number(rule.minor())?);
        let access = Access::parse(rule.access().as_deref().unwrap_or_default())?;
        // A rule about no access is about nothing.
        if access != Access(0) {
            self.push(DeviceRule { allow: rule.allow(), kind, major, minor, access });
        }
        Ok(())
    }

    /// Adds a rule. Two that allow something for the same devices become one, or reading and writing at once would be
    /// refused where one allows this and the other that; a refusal between them keeps them apart.
    fn push(&mut self, rule: DeviceRule) {
        let since_refusal = self.rules.iter_mut().rev().take_while(|known| known.allow && rule.allow);
        match since_refusal.into_iter().find(|known| known.is_about_the_devices_of(&rule)) {
            Some(known) => known.access = known.access | rule.access,
            None => self.rules.push(rule),
        }
    }

    /// The program; `None` if nothing is refused.
    fn compile(&self) -> Option<Vec<Instruction>> {
        if self.otherwise && self.rules.iter().all(|rule| rule.allow) {
            return None;
        }
        let mut code = vec![
            Instruction::load(Register::Kind, question::ACCESS_TYPE),
            Instruction::copy(Register::Access, Register::Kind),
            Instruction::and(Register::Kind, 0xffff),
            Instruction::shift_right(Register::Access, 16),
            Instruction::load(Register::Major, question::MAJOR),
            Instruction::load(Register::Minor, question::MINOR),
        ];
        // The first answer is final, so the last rule comes first.
        code.extend(self.rules.iter().rev().flat_map(DeviceRule::compile));
        code.push(Instruction::set(Register::Answer, self.otherwise.into()));
        code.push(Instruction::exit());
        Some(code)
    }

    /// Puts the filter on the cgroup of version 2 that has this directory.
    pub(super) fn attach(&self, dir: &Path) -> Result<(), DeviceFilterError> {
        let Some(program) = self.compile() else { return Ok(()) };
        let program = load(&program).map_err(DeviceFilterError::Load)?;
        let attached = File::open(dir).and_then(|cgroup| sys::attach(program, cgroup));
        attached.map_err(|source| DeviceFilterError::Attach { dir: dir.to_owned(), source })
    }
}

/// The number in a rule; `None` if it is about any.
fn number(number: Option<i64>) -> Result<Option<i32>, DeviceFilterError> {
    let number = number.filter(|number| *number >= 0);
    number.map(|number| i32::try_from(number).map_err(|_| DeviceFilterError::Number(number))).transpose()
}

/// Kernels before 5.11 count programs as locked memory of the user's, of which a few containers would take all.
fn load(program: &[Instruction]) -> io::Result<OwnedFd> {
    let first = sys::load(program);
    if !first.as_ref().is_err_and(|err| err.raw_os_error() == Some(libc::EPERM)) {
        return first;
    }
    let before = rustix::process::getrlimit(Resource::Memlock);
    rustix::process::setrlimit(Resource::Memlock, Rlimit { current: None, maximum: None })?;
    let second = sys::load(program);
    // Processes in the container would have the limit of this one.
    rustix::process::setrlimit(Resource::Memlock, before)?;
    second
}

#[cfg(test)]
mod tests;
