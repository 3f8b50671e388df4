//! From a profile to a program.
//!
//! The program looks at the architecture, then finds the system call's number in a balanced tree of ranges, then
//! compares arguments where the profile does. Where a profile has several rules for one system call, the first that fits
//! counts.

use std::collections::BTreeMap;

use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompOperator};

use super::SeccompError;
use super::bpf::{AND, Instruction, JUMP, JUMP_EQUAL, JUMP_GREATER, JUMP_GREATER_EQUAL, LOAD, RETURN, offset};
use super::table::Table;

/// The longest program that the kernel takes.
const MAX_LENGTH: usize = 4096;

const KILL_PROCESS: u32 = 0x8000_0000;
const KILL_THREAD: u32 = 0;
const TRAP: u32 = 0x0003_0000;
const ERRNO: u32 = 0x0005_0000;
const TRACE: u32 = 0x7ff0_0000;
const LOG: u32 = 0x7ffc_0000;
const ALLOW: u32 = 0x7fff_0000;

const EPERM: u32 = libc::EPERM as u32;
const ENOSYS: u32 = libc::ENOSYS as u32;

/// System calls of the x32 architecture have this bit. Its numbers are others, so no profile fits: as far as containers
/// see, the kernel does not have it.
const X32: u32 = 0x4000_0000;

/// What a system call with certain arguments gets.
#[derive(Clone)]
struct Rule<'a> {
    arguments: &'a [LinuxSeccompArg],
    action: u32,
}

/// What the system calls of a range get.
#[derive(Clone)]
enum Leaf<'a> {
    Return(u32),
    Rules { rules: Vec<Rule<'a>>, otherwise: u32 },
}

/// The program of `profile` for this machine.
pub(super) fn compile(profile: &LinuxSeccomp) -> Result<Vec<Instruction>, SeccompError> {
    let native = Table::native().ok_or(SeccompError::Architecture)?;
    let mut tables = vec![native];
    for table in profile.architectures().iter().flatten().filter_map(|arch| Table::of(*arch)) {
        if Some(table) == native.compatible() && !tables.contains(&table) {
            tables.push(table);
        }
    }
    let mut program = vec![Instruction::plain(LOAD, offset::ARCH)];
    for table in tables {
        let section = section(profile, table)?;
        // Sections end in themselves: what comes after one is for other architectures.
        program.push(Instruction::branch(JUMP_EQUAL, table.audit_arch(), 1, 0));
        program.push(Instruction::plain(JUMP, length(&section)));
        program.extend(section);
    }
    // Programs of architectures that the profile does not name.
    program.push(Instruction::plain(RETURN, KILL_THREAD));
    if program.len() > MAX_LENGTH {
        return Err(SeccompError::TooLong(program.len()));
    }
    Ok(program)
}

fn length(program: &[Instruction]) -> u32 {
    u32::try_from(program.len()).unwrap_or(u32::MAX)
}

fn section(profile: &LinuxSeccomp, table: Table) -> Result<Vec<Instruction>, SeccompError> {
    let mut section = vec![Instruction::plain(LOAD, offset::NUMBER)];
    if table == Table::X86_64 {
        section.push(Instruction::branch(JUMP_GREATER_EQUAL, X32, 0, 1));
        section.push(Instruction::plain(RETURN, ERRNO | ENOSYS));
    }
    section.extend(tree(&ranges(profile, table)?));
    Ok(section)
}

fn action(action: LinuxSeccompAction, errno: Option<u32>) -> Result<u32, SeccompError> {
    Ok(match action {
        LinuxSeccompAction::ScmpActKill | LinuxSeccompAction::ScmpActKillThread => KILL_THREAD,
        LinuxSeccompAction::ScmpActKillProcess => KILL_PROCESS,
        LinuxSeccompAction::ScmpActTrap => TRAP,
        LinuxSeccompAction::ScmpActErrno => ERRNO | errno.unwrap_or(EPERM) & 0xffff,
        LinuxSeccompAction::ScmpActTrace => TRACE | errno.unwrap_or(EPERM) & 0xffff,
        LinuxSeccompAction::ScmpActLog => LOG,
        LinuxSeccompAction::ScmpActAllow => ALLOW,
        LinuxSeccompAction::ScmpActNotify => return Err(SeccompError::Notify),
    })
}

/// The leaves of all numbers, each with the first number that it is for.
fn ranges(profile: &LinuxSeccomp, table: Table) -> Result<Vec<(u32, Leaf<'_>)>, SeccompError> {
    let otherwise = action(profile.default_action(), profile.default_errno_ret())?;
    let mut rules: BTreeMap<u32, Vec<Rule<'_>>> = BTreeMap::new();
    for entry in profile.syscalls().iter().flatten() {
        let action = action(entry.action(), entry.errno_ret())?;
        let arguments = entry.args().as_deref().unwrap_or_default();
        for name in entry.names() {
            check(name, arguments)?;
            // A name that this architecture does not have means nothing here.
            if let Some(number) = table.number(name) {
                rules.entry(number).or_default().push(Rule { arguments, action });
            }
        }
    }
    let beyond = rules.keys().next_back().map_or(0, |last| last + 1);
    let mut ranges: Vec<(u32, Leaf<'_>)> = Vec::new();
    let mut next = 0;
    for (number, rules) in rules {
        if number > next {
            ranges.push((next, Leaf::Return(otherwise)));
        }
        ranges.push((number, leaf(rules, otherwise)));
        next = number + 1;
    }
    // What is newer than all that the profile knows looks as if the kernel did not have it, so that programs fall back
    // on what they did before.
    let newer = if otherwise == ERRNO | EPERM { ERRNO | ENOSYS } else { otherwise };
    ranges.push((beyond, Leaf::Return(newer)));
    ranges.dedup_by(|(_, this), (_, last)| matches!((last, this), (Leaf::Return(a), Leaf::Return(b)) if *a == *b));
    Ok(ranges)
}

fn leaf(rules: Vec<Rule<'_>>, otherwise: u32) -> Leaf<'_> {
    match rules.first() {
        Some(rule) if rule.arguments.is_empty() => Leaf::Return(rule.action),
        _ => Leaf::Rules { rules, otherwise },
    }
}

fn check(name: &str, arguments: &[LinuxSeccompArg]) -> Result<(), SeccompError> {
    let is_wrong = |argument: &&LinuxSeccompArg| {
        argument.index() > 5 || argument.op() == LinuxSeccompOperator::ScmpCmpMaskedEq && argument.value_two().is_none()
    };
    match arguments.iter().find(is_wrong) {
        Some(argument) => Err(SeccompError::Argument { name: name.to_owned(), index: argument.index() }),
        None => Ok(()),
    }
}

/// The search for a number that is loaded.
fn tree(ranges: &[(u32, Leaf<'_>)]) -> Vec<Instruction> {
    if let [(_, leaf)] = ranges {
        return decide(leaf);
    }
    let (lower, upper) = ranges.split_at(ranges.len() / 2);
    let pivot = upper[0].0;
    let (lower, upper) = (tree(lower), tree(upper));
    let mut code = match u8::try_from(lower.len()) {
        Ok(skipped) => vec![Instruction::branch(JUMP_GREATER_EQUAL, pivot, skipped, 0)],
        Err(_) => vec![Instruction::branch(JUMP_GREATER_EQUAL, pivot, 0, 1), Instruction::plain(JUMP, length(&lower))],
    };
    code.extend(lower);
    code.extend(upper);
    code
}

fn decide(leaf: &Leaf<'_>) -> Vec<Instruction> {
    match leaf {
        Leaf::Return(action) => vec![Instruction::plain(RETURN, *action)],
        Leaf::Rules { rules, otherwise } => {
            let mut code: Vec<Instruction> = rules.iter().flat_map(rule).collect();
            code.push(Instruction::plain(RETURN, *otherwise));
            code
        }
    }
}

/// Where a comparison goes on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum To {
    /// The next instruction.
    Next,
    /// The argument fits.
    Fits,
    /// It does not.
    Fails,
}

/// Returns the action if all arguments fit, else goes on behind itself.
fn rule(rule: &Rule<'_>) -> Vec<Instruction> {
    let conditions: Vec<Vec<(Instruction, To, To)>> = rule.arguments.iter().map(condition).collect();
    let behind = conditions.iter().map(Vec::len).sum::<usize>() + 1;
    let mut code = Vec::with_capacity(behind);
    for condition in conditions {
        let next_condition = code.len() + condition.len();
        for (instruction, holds, fails) in condition {
            // Six arguments with at most seven instructions each: every distance fits.
            let distance = |to| match to {
                To::Next => 0,
                To::Fits => (next_condition - code.len() - 1) as u8,
                To::Fails => (behind - code.len() - 1) as u8,
            };
            code.push(Instruction { jt: distance(holds), jf: distance(fails), ..instruction });
        }
    }
    code.push(Instruction::plain(RETURN, rule.action));
    code
}

fn condition(argument: &LinuxSeccompArg) -> Vec<(Instruction, To, To)> {
    let index = u32::try_from(argument.index()).unwrap_or_default();
    let load = |offset| (Instruction::plain(LOAD, offset), To::Next, To::Next);
    let and = |mask| (Instruction::plain(AND, mask), To::Next, To::Next);
    let compare = |code, k, holds, fails| (Instruction::plain(code, k), holds, fails);
    let halves = |value: u64| ((value >> 32) as u32, value as u32);
    let (high, low) = halves(argument.value());
    let ordered = |code, holds, fails| {
        vec![
            load(offset::high(index)),
            compare(JUMP_GREATER, high, holds, To::Next),
            compare(JUMP_EQUAL, high, To::Next, fails),
            load(offset::low(index)),
            compare(code, low, holds, fails),
        ]
    };
    match argument.op() {
        LinuxSeccompOperator::ScmpCmpEq => vec![
            load(offset::high(index)),
            compare(JUMP_EQUAL, high, To::Next, To::Fails),
            load(offset::low(index)),
            compare(JUMP_EQUAL, low, To::Fits, To::Fails),
        ],
        LinuxSeccompOperator::ScmpCmpNe => vec![
            load(offset::high(index)),
            compare(JUMP_EQUAL, high, To::Next, To::Fits),
            load(offset::low(index)),
            compare(JUMP_EQUAL, low, To::Fails, To::Fits),
        ],
        LinuxSeccompOperator::ScmpCmpMaskedEq => {
            // The value is the mask, the second what must be left.
            let (wanted_high, wanted_low) = halves(argument.value_two().unwrap_or_default() & argument.value());
            vec![
                load(offset::high(index)),
                and(high),
                compare(JUMP_EQUAL, wanted_high, To::Next, To::Fails),
                load(offset::low(index)),
                and(low),
                compare(JUMP_EQUAL, wanted_low, To::Fits, To::Fails),
            ]
        }
        LinuxSeccompOperator::ScmpCmpGt => ordered(JUMP_GREATER, To::Fits, To::Fails),
        LinuxSeccompOperator::ScmpCmpGe => ordered(JUMP_GREATER_EQUAL, To::Fits, To::Fails),
        LinuxSeccompOperator::ScmpCmpLt => ordered(JUMP_GREATER_EQUAL, To::Fails, To::Fits),
        LinuxSeccompOperator::ScmpCmpLe => ordered(JUMP_GREATER, To::Fails, To::Fits),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::bpf;
    use super::*;

    fn profile(default: &str, syscalls: Value) -> LinuxSeccomp {
        let profile = json!({"defaultAction": default, "architectures": ["SCMP_ARCH_X86"], "syscalls": syscalls});
        serde_json::from_value(profile).expect("well formed")
    }

    /// What a native system call gets.
    #[track_caller]
    fn ask(program: &[Instruction], name: &str, arguments: &[u64]) -> u32 {
        let native = Table::native().expect("known");
        bpf::run(program, native.audit_arch(), native.number(name).expect("it exists"), arguments)
    }

    #[test]
    fn system_calls_get_what_the_profile_says() {
        let profile = profile(
            "SCMP_ACT_ALLOW",
            json!([
                {"names": ["fchmod", "no_such"], "action": "SCMP_ACT_ERRNO"},
                {"names": ["read"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38},
                {"names": ["bpf"], "action": "SCMP_ACT_KILL_PROCESS"},
            ]),
        );
        let program = compile(&profile).expect("it can be done");
        assert_eq!(ask(&program, "fchmod", &[]), ERRNO | EPERM);
        assert_eq!(ask(&program, "read", &[]), ERRNO | 38);
        assert_eq!(ask(&program, "bpf", &[]), KILL_PROCESS);
        assert_eq!(ask(&program, "write", &[]), ALLOW);
        assert_eq!(bpf::run(&program, Table::native().expect("known").audit_arch(), 3000, &[]), ALLOW);
        assert_eq!(bpf::run(&program, 0x1234, 0, &[]), KILL_THREAD);
    }

    #[test]
    fn what_the_profile_does_not_know_does_not_exist() {
        let profile = profile("SCMP_ACT_ERRNO", json!([{"names": ["read", "openat2"], "action": "SCMP_ACT_ALLOW"}]));
        let program = compile(&profile).expect("it can be done");
        assert_eq!(ask(&program, "read", &[]), ALLOW);
        assert_eq!(ask(&program, "openat2", &[]), ALLOW);
        assert_eq!(ask(&program, "write", &[]), ERRNO | EPERM);
        let arch = Table::native().expect("known").audit_arch();
        assert_eq!(bpf::run(&program, arch, 3000, &[]), ERRNO | ENOSYS);
        assert_eq!(bpf::run(&program, Table::X86_64.audit_arch(), X32 | 1, &[]), {
            if arch == Table::X86_64.audit_arch() { ERRNO | ENOSYS } else { KILL_THREAD }
        });
    }

    #[track_caller]
    fn check_argument(op: &str, value: u64, value_two: u64, fitting: &[u64], failing: &[u64]) {
        let args = json!([{"index": 1, "op": op, "value": value, "valueTwo": value_two}]);
        let syscalls = json!([{"names": ["read"], "action": "SCMP_ACT_TRAP", "args": args}]);
        let program = compile(&profile("SCMP_ACT_ALLOW", syscalls)).expect("it can be done");
        for argument in fitting {
            assert_eq!(ask(&program, "read", &[0, *argument]), TRAP, "{argument:#x}");
        }
        for argument in failing {
            assert_eq!(ask(&program, "read", &[0, *argument]), ALLOW, "{argument:#x}");
        }
    }

    #[test]
    fn arguments_are_compared_in_all_their_bits() {
        let (big, small) = (5 << 32 | 7, 7);
        check_argument("SCMP_CMP_EQ", big, 0, &[big], &[small, big + 1, 6 << 32 | 7]);
        check_argument("SCMP_CMP_NE", big, 0, &[small, big + 1, 6 << 32 | 7], &[big]);
        check_argument("SCMP_CMP_GT", big, 0, &[big + 1, 6 << 32], &[big, small, 4 << 32 | 9]);
        check_argument("SCMP_CMP_GE", big, 0, &[big, big + 1, 6 << 32], &[big - 1, small]);
        check_argument("SCMP_CMP_LT", big, 0, &[big - 1, small, 4 << 32 | 9], &[big, big + 1, 6 << 32]);
        check_argument("SCMP_CMP_LE", big, 0, &[big, small], &[big + 1, 6 << 32]);
        check_argument("SCMP_CMP_MASKED_EQ", 0xf0, 0x20, &[0x20, 0x2f, 1 << 40 | 0x20], &[0x30, 0]);
    }

    #[test]
    fn the_first_rule_that_fits_counts() {
        let syscalls = json!([
            {"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [
                {"index": 0, "op": "SCMP_CMP_EQ", "value": 1}, {"index": 1, "op": "SCMP_CMP_EQ", "value": 2}]},
            {"names": ["socket"], "action": "SCMP_ACT_ERRNO", "errnoRet": 97},
        ]);
        let program = compile(&profile("SCMP_ACT_KILL", syscalls)).expect("it can be done");
        assert_eq!(ask(&program, "socket", &[1, 2]), ALLOW);
        assert_eq!(ask(&program, "socket", &[1, 3]), ERRNO | 97);
        assert_eq!(ask(&program, "read", &[]), KILL_THREAD);
    }

    #[test]
    fn impossible_profiles_are_refused() {
        let with_argument = |argument: Value| {
            compile(&profile(
                "SCMP_ACT_ALLOW",
                json!([{"names": ["read"], "action": "SCMP_ACT_ERRNO", "args": [argument]}]),
            ))
        };
        let sixth = with_argument(json!({"index": 6, "op": "SCMP_CMP_EQ", "value": 0}));
        assert!(matches!(sixth, Err(SeccompError::Argument { index: 6, .. })));
        let no_mask = with_argument(json!({"index": 0, "op": "SCMP_CMP_MASKED_EQ", "value": 0}));
        assert!(matches!(no_mask, Err(SeccompError::Argument { index: 0, .. })));
        let notify = profile("SCMP_ACT_NOTIFY", json!([]));
        assert!(matches!(compile(&notify), Err(SeccompError::Notify)));
    }
}
