//! The instructions of the kernel's packet filters, as far as filters of system calls need them.

/// One instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Instruction {
    pub code: u16,
    /// How many instructions are skipped if a comparison holds.
    pub jt: u8,
    /// How many if it does not.
    pub jf: u8,
    pub k: u32,
}

pub(super) const LOAD: u16 = 0x20;
pub(super) const JUMP: u16 = 0x05;
pub(super) const JUMP_EQUAL: u16 = 0x15;
pub(super) const JUMP_GREATER: u16 = 0x25;
pub(super) const JUMP_GREATER_EQUAL: u16 = 0x35;
pub(super) const AND: u16 = 0x54;
pub(super) const RETURN: u16 = 0x06;

/// Where the kernel has what a filter looks at: `struct seccomp_data`.
pub(super) mod offset {
    pub(in crate::seccomp) const NUMBER: u32 = 0;
    pub(in crate::seccomp) const ARCH: u32 = 4;
    const ARGUMENTS: u32 = 16;

    /// The lower half of an argument.
    pub(in crate::seccomp) fn low(index: u32) -> u32 {
        ARGUMENTS + 8 * index
    }

    /// The upper half.
    pub(in crate::seccomp) fn high(index: u32) -> u32 {
        low(index) + 4
    }
}

impl Instruction {
    /// An instruction that always goes on with the next.
    pub(super) fn plain(code: u16, k: u32) -> Self {
        Self { code, jt: 0, jf: 0, k }
    }

    /// A comparison.
    pub(super) fn branch(code: u16, k: u32, jt: u8, jf: u8) -> Self {
        Self { code, jt, jf, k }
    }

    /// As a number.
    pub(super) fn encode(self) -> u64 {
        u64::from(self.code) << 48 | u64::from(self.jt) << 40 | u64::from(self.jf) << 32 | u64::from(self.k)
    }

    /// From its number.
    pub(super) fn decode(code: u64) -> Self {
        let [c1, c0, jt, jf, k @ ..] = code.to_be_bytes();
        Self { code: u16::from_be_bytes([c1, c0]), jt, jf, k: u32::from_be_bytes(k) }
    }
}

/// What the kernel would say: a program run on a system call, for tests.
#[cfg(test)]
pub(super) fn run(program: &[Instruction], arch: u32, number: u32, arguments: &[u64]) -> u32 {
    let mut accumulator = 0;
    let mut at = 0;
    loop {
        let Instruction { code, jt, jf, k } = program[at];
        let holds = match code {
            LOAD => {
                accumulator = match k {
                    offset::NUMBER => number,
                    offset::ARCH => arch,
                    k => {
                        let argument = arguments.get(((k - 16) / 8) as usize).copied().unwrap_or_default();
                        if k % 8 == 0 { argument as u32 } else { (argument >> 32) as u32 }
                    }
                };
                at += 1;
                continue;
            }
            AND => {
                accumulator &= k;
                at += 1;
                continue;
            }
            JUMP => {
                at += 1 + k as usize;
                continue;
            }
            RETURN => return k,
            JUMP_EQUAL => accumulator == k,
            JUMP_GREATER => accumulator > k,
            JUMP_GREATER_EQUAL => accumulator >= k,
            other => panic!("unknown instruction {other:#x}"),
        };
        at += 1 + usize::from(if holds { jt } else { jf });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_survive_being_numbers() {
        let one = Instruction::branch(JUMP_GREATER_EQUAL, 0xdead_beef, 255, 7);
        assert_eq!(Instruction::decode(one.encode()), one);
    }
}
