//! A socket filter (socket(7), `SO_ATTACH_FILTER`): a listener that is about to close takes no new handshake.

use std::ffi::{c_int, c_void};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// One instruction of classic BPF (`struct sock_filter`).
#[repr(C)]
struct Instruction {
    code: u16,
    jump_true: u8,
    jump_false: u8,
    operand: u32,
}

/// `struct sock_fprog`.
#[repr(C)]
struct Program {
    length: u16,
    instructions: *const Instruction,
}

const fn instruction(code: u16, jump_true: u8, jump_false: u8, operand: u32) -> Instruction {
    Instruction { code, jump_true, jump_false, operand }
}

/// The filter sees a segment from its TCP header on; the flags are its byte 13 and SYN is 2 (RFC 9293 §3.1).
static DROP_SYNS: [Instruction; 4] = [
    instruction(0x30, 0, 0, 13),       // load the byte
    instruction(0x45, 0, 1, 0x02),     // is SYN set?
    instruction(0x06, 0, 0, 0),        // yes: keep nothing
    instruction(0x06, 0, 0, u32::MAX), // no: keep all
];

/// Numbers of Linux's generic ABI, which x86, ARM and RISC-V share.
const SOL_SOCKET: c_int = 1;
const SO_ATTACH_FILTER: c_int = 26;

unsafe extern "C" {
    fn setsockopt(fd: c_int, level: c_int, name: c_int, value: *const c_void, length: u32) -> c_int;
}

/// Drops each SYN that arrives at `listener`.
pub(super) fn drop_syns(listener: BorrowedFd) -> io::Result<()> {
    let program = Program { length: DROP_SYNS.len() as u16, instructions: DROP_SYNS.as_ptr() };
    let length = size_of::<Program>() as u32;
    // SAFETY: `program` is a valid `sock_fprog` of the given size for the time of the call, and what it points
    // to is static; the kernel copies and checks both. The descriptor is open as long as it is borrowed.
    let result = unsafe {
        setsockopt(listener.as_raw_fd(), SOL_SOCKET, SO_ATTACH_FILTER, (&raw const program).cast(), length)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
