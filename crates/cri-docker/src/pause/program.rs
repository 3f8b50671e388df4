//! The program that holds a sandbox's namespaces, as machine code: it waits for ever in a page of memory.
//!
//! Where the pod shares its process namespace it is the first process there, so it ignores SIGCHLD: the kernel then
//! clears away the children that other processes leave to it. Like any first process it ignores SIGTERM; the adapter
//! kills it.

/// Where the program is loaded.
const ADDRESS: u64 = 0x40_0000;

/// The lengths of the two headers that stand before the code.
const FILE_HEADER: u16 = 64;
const PROGRAM_HEADER: u16 = 56;

/// The machine's number in the header.
#[cfg(target_arch = "x86_64")]
const MACHINE: u16 = 62;
#[cfg(target_arch = "aarch64")]
const MACHINE: u16 = 183;

#[cfg(target_arch = "x86_64")]
const CODE: &[u8] = &[
    0xb8, 13, 0, 0, 0, // mov eax, rt_sigaction
    0xbf, 17, 0, 0, 0, // mov edi, SIGCHLD
    0x48, 0x8d, 0x35, 23, 0, 0, 0, // lea rsi, [rip + 23]: the action
    0x31, 0xd2, // xor edx, edx
    0x41, 0xba, 8, 0, 0, 0, // mov r10d, 8
    0x0f, 0x05, // syscall
    0xb8, 34, 0, 0, 0, // mov eax, pause
    0x0f, 0x05, // syscall
    0xeb, 0xf7, // jmp to mov eax, pause
    0, 0, 0, 0, // the action is aligned
];

#[cfg(target_arch = "aarch64")]
const CODE: &[u8] = &[
    0xc8, 0x10, 0x80, 0xd2, // mov x8, rt_sigaction
    0x20, 0x02, 0x80, 0xd2, // mov x0, SIGCHLD
    0x81, 0x01, 0x00, 0x10, // adr x1, the action
    0x02, 0x00, 0x80, 0xd2, // mov x2, 0
    0x03, 0x01, 0x80, 0xd2, // mov x3, 8
    0x01, 0x00, 0x00, 0xd4, // svc 0
    0x28, 0x09, 0x80, 0xd2, // mov x8, ppoll
    0x00, 0x00, 0x80, 0xd2, // mov x0, 0
    0x01, 0x00, 0x80, 0xd2, // mov x1, 0
    0x02, 0x00, 0x80, 0xd2, // mov x2, 0
    0x03, 0x00, 0x80, 0xd2, // mov x3, 0
    0x04, 0x00, 0x80, 0xd2, // mov x4, 0
    0x01, 0x00, 0x00, 0xd4, // svc 0
    0xf9, 0xff, 0xff, 0x17, // b to mov x8, ppoll
];

/// The action upon SIGCHLD: to ignore it, and nothing more.
const ACTION: [u64; 4] = [1, 0, 0, 0];

/// The program as a file.
pub(super) fn elf() -> Vec<u8> {
    let start = u64::from(FILE_HEADER + PROGRAM_HEADER);
    let size = start + (CODE.len() + size_of_val(&ACTION)) as u64;
    let mut file = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let mut put = |bytes: &[u8]| file.extend_from_slice(bytes);
    // An executable of this machine, version 1.
    put(&2_u16.to_le_bytes());
    put(&MACHINE.to_le_bytes());
    put(&1_u32.to_le_bytes());
    // Where it starts, where the program header is, and no sections.
    for word in [ADDRESS + start, u64::from(FILE_HEADER), 0] {
        put(&word.to_le_bytes());
    }
    put(&0_u32.to_le_bytes());
    for half in [FILE_HEADER, PROGRAM_HEADER, 1, 0, 0, 0] {
        put(&half.to_le_bytes());
    }
    // The whole file is loaded, to be read and executed.
    put(&1_u32.to_le_bytes());
    put(&5_u32.to_le_bytes());
    for word in [0, ADDRESS, ADDRESS, size, size, 0x1000] {
        put(&word.to_le_bytes());
    }
    put(CODE);
    for word in ACTION {
        put(&word.to_le_bytes());
    }
    file
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_headers_fit_what_follows() {
        let file = elf();
        let word = |at: usize| u64::from_le_bytes(file[at..at + 8].try_into().expect("eight bytes"));
        assert_eq!((word(24), word(32)), (ADDRESS + 120, 64), "entry and program header");
        assert_eq!((word(96), word(104)), (file.len() as u64, file.len() as u64), "what is loaded");
        assert_eq!(&file[120..120 + CODE.len()], CODE);
        assert_eq!((file.len() - 32) % 8, 0, "the action is aligned");
    }
}
