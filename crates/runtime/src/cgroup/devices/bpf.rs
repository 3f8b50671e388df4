//! The instructions of the kernel's virtual machine (eBPF), as far as filters of devices need them.

/// One instruction, as the kernel takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub(in crate::cgroup) struct Instruction {
    code: u8,
    /// The register that is changed or compared, and that which is read.
    registers: u8,
    /// How many instructions a jump skips, or where in memory a value is.
    offset: i16,
    immediate: i32,
}

/// A register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Register {
    /// What the program says in the end; free before.
    Answer = 0,
    /// Where the question is, see [`question`].
    Question = 1,
    Kind = 2,
    Access = 3,
    Major = 4,
    Minor = 5,
}

/// Where the kernel has what a filter looks at: `struct bpf_cgroup_dev_ctx`.
pub(super) mod question {
    /// The kind of device in the lower half of the word, the kinds of access in the upper one.
    pub(in crate::cgroup::devices) const ACCESS_TYPE: i16 = 0;
    pub(in crate::cgroup::devices) const MAJOR: i16 = 4;
    pub(in crate::cgroup::devices) const MINOR: i16 = 8;
}

const LOAD_WORD: u8 = 0x61;
const COPY: u8 = 0xbf;
const SET: u8 = 0xb7;
const AND: u8 = 0x57;
const SHIFT_RIGHT: u8 = 0x77;
const JUMP_EQUAL: u8 = 0x15;
const JUMP_NOT_EQUAL: u8 = 0x55;
const EXIT: u8 = 0x95;

impl Instruction {
    fn new(code: u8, to: Register, from: u8, offset: i16, immediate: i32) -> Self {
        let (to, from) = if cfg!(target_endian = "big") { (from, to as u8) } else { (to as u8, from) };
        Self { code, registers: from << 4 | to, offset, immediate }
    }

    /// Reads a word of the question.
    pub(super) fn load(to: Register, offset: i16) -> Self {
        Self::new(LOAD_WORD, to, Register::Question as u8, offset, 0)
    }

    /// Copies a register.
    pub(super) fn copy(to: Register, from: Register) -> Self {
        Self::new(COPY, to, from as u8, 0, 0)
    }

    /// Sets a register.
    pub(super) fn set(to: Register, value: i32) -> Self {
        Self::new(SET, to, 0, 0, value)
    }

    /// Keeps only these bits.
    pub(super) fn and(to: Register, bits: i32) -> Self {
        Self::new(AND, to, 0, 0, bits)
    }

    /// Shifts to the right.
    pub(super) fn shift_right(to: Register, by: i32) -> Self {
        Self::new(SHIFT_RIGHT, to, 0, 0, by)
    }

    /// A jump if the register has this value.
    pub(super) fn jump_if(register: Register, value: i32) -> Self {
        Self::new(JUMP_EQUAL, register, 0, 0, value)
    }

    /// A jump unless the register has this value.
    pub(super) fn jump_unless(register: Register, value: i32) -> Self {
        Self::new(JUMP_NOT_EQUAL, register, 0, 0, value)
    }

    /// The end.
    pub(super) fn exit() -> Self {
        Self::new(EXIT, Register::Answer, 0, 0, 0)
    }

    /// Whether this is a jump.
    pub(super) fn is_jump(self) -> bool {
        matches!(self.code, JUMP_EQUAL | JUMP_NOT_EQUAL)
    }

    /// The same jump over so many instructions.
    pub(super) fn over(self, offset: i16) -> Self {
        Self { offset, ..self }
    }
}

/// What the kernel would say: a program run on a question, for tests.
#[cfg(test)]
pub(super) fn run(program: &[Instruction], access_type: u32, major: u32, minor: u32) -> u64 {
    // The kernel's verifier refuses programs that read what was not written.
    let mut registers: [Option<u64>; 6] = [None; 6];
    let mut at = 0;
    loop {
        let Instruction { code, registers: both, offset, immediate } = program[at];
        let (to, from) = (usize::from(both & 15), usize::from(both >> 4));
        let value = |register: usize| registers[register].expect("the register was set");
        // The kernel extends the sign.
        let immediate = i64::from(immediate) as u64;
        at += 1;
        let result = match code {
            LOAD_WORD => match offset {
                question::ACCESS_TYPE => access_type.into(),
                question::MAJOR => major.into(),
                question::MINOR => minor.into(),
                other => panic!("nothing at {other}"),
            },
            COPY => value(from),
            SET => immediate,
            AND => value(to) & immediate,
            SHIFT_RIGHT => value(to) >> immediate,
            JUMP_EQUAL | JUMP_NOT_EQUAL => {
                if (value(to) == immediate) == (code == JUMP_EQUAL) {
                    at += usize::try_from(offset).expect("only forwards");
                }
                continue;
            }
            EXIT => return value(0),
            other => panic!("unknown instruction {other:#x}"),
        };
        registers[to] = Some(result);
    }
}
