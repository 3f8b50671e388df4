//! Names and numbers of system calls.

use oci_spec::runtime::Arch;

/// An architecture whose system calls are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Table {
    X86_64,
    X86,
    Aarch64,
    Arm,
}

impl Table {
    /// The machine's own.
    pub(super) fn native() -> Option<Self> {
        match std::env::consts::ARCH {
            "x86_64" => Some(Self::X86_64),
            "aarch64" => Some(Self::Aarch64),
            _ => None,
        }
    }

    /// Whose programs the machine may run beside its own.
    pub(super) fn compatible(self) -> Option<Self> {
        match self {
            Self::X86_64 => Some(Self::X86),
            Self::Aarch64 => Some(Self::Arm),
            Self::X86 | Self::Arm => None,
        }
    }

    /// The table of an architecture in a profile; `None` for those that no machine of ours runs.
    pub(super) fn of(arch: Arch) -> Option<Self> {
        match arch {
            Arch::ScmpArchNative => Self::native(),
            Arch::ScmpArchX86_64 => Some(Self::X86_64),
            Arch::ScmpArchX86 => Some(Self::X86),
            Arch::ScmpArchAarch64 => Some(Self::Aarch64),
            Arch::ScmpArchArm => Some(Self::Arm),
            _ => None,
        }
    }

    /// Its name in a profile.
    pub(super) fn arch(self) -> Arch {
        match self {
            Self::X86_64 => Arch::ScmpArchX86_64,
            Self::X86 => Arch::ScmpArchX86,
            Self::Aarch64 => Arch::ScmpArchAarch64,
            Self::Arm => Arch::ScmpArchArm,
        }
    }

    /// What the kernel calls it (`AUDIT_ARCH_*`).
    pub(super) fn audit_arch(self) -> u32 {
        match self {
            Self::X86_64 => 0xc000_003e,
            Self::X86 => 0x4000_0003,
            Self::Aarch64 => 0xc000_00b7,
            Self::Arm => 0x4000_0028,
        }
    }

    /// The number of a system call, if there is such a one.
    pub(super) fn number(self, name: &str) -> Option<u32> {
        let number = match self {
            Self::X86_64 => name.parse::<syscalls::x86_64::Sysno>().ok()?.id(),
            Self::X86 => name.parse::<syscalls::x86::Sysno>().ok()?.id(),
            Self::Aarch64 => name.parse::<syscalls::aarch64::Sysno>().ok()?.id(),
            Self::Arm => name.parse::<syscalls::arm::Sysno>().ok()?.id(),
        };
        u32::try_from(number).ok()
    }

    /// The names of all system calls.
    pub(super) fn names(self) -> Vec<&'static str> {
        let to = |last: i32| 0..=usize::try_from(last).unwrap_or_default();
        match self {
            Self::X86_64 => to(syscalls::x86_64::Sysno::last().id())
                .filter_map(|id| Some(syscalls::x86_64::Sysno::new(id)?.name()))
                .collect(),
            Self::X86 => to(syscalls::x86::Sysno::last().id())
                .filter_map(|id| Some(syscalls::x86::Sysno::new(id)?.name()))
                .collect(),
            Self::Aarch64 => to(syscalls::aarch64::Sysno::last().id())
                .filter_map(|id| Some(syscalls::aarch64::Sysno::new(id)?.name()))
                .collect(),
            Self::Arm => to(syscalls::arm::Sysno::last().id())
                .filter_map(|id| Some(syscalls::arm::Sysno::new(id)?.name()))
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_the_kernels() {
        assert_eq!(Table::X86_64.number("execve"), Some(59));
        assert_eq!(Table::X86.number("execve"), Some(11));
        assert_eq!(Table::Aarch64.number("execve"), Some(221));
        assert_eq!(Table::Arm.number("execve"), Some(11));
        assert_eq!(Table::X86_64.number("no_such_call"), None);
        assert_eq!(Table::Aarch64.number("open"), None);
        for table in [Table::X86_64, Table::X86, Table::Aarch64, Table::Arm] {
            assert!(table.names().len() > 290, "{table:?}");
        }
    }
}
