//! How much memory the process keeps of what it has given back. The C library's allocator makes up to eight arenas a core and
//! rarely returns what is free inside them, so that a server would keep the peaks of all its threads for ever: several times
//! what it uses, and more on larger machines. A leaf; nothing else is allocated differently.

/// Arenas. Threads of a server wait for disks and networks most of the time, and seldom for each other's allocations.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const ARENAS_MAX: libc::c_int = 2;
/// Blocks from this size on go back to the system at once, and so does this much at the end of an arena. The allocator
/// would raise both with the largest block it ever saw.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const RETURNED_BYTES: libc::c_int = 128 << 10;

/// To be called before there is another thread. Elsewhere than with the GNU C library it does nothing.
pub fn return_what_is_free() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    for (parameter, value) in [
        (libc::M_ARENA_MAX, ARENAS_MAX),
        (libc::M_MMAP_THRESHOLD, RETURNED_BYTES),
        (libc::M_TRIM_THRESHOLD, RETURNED_BYTES),
    ] {
        #[expect(unsafe_code, reason = "foreign function; it takes two numbers, and no other thread exists")]
        // SAFETY: mallopt(3) reads nothing but its arguments, and no thread allocates meanwhile.
        let accepted = unsafe { libc::mallopt(parameter, value) };
        debug_assert_eq!(accepted, 1, "mallopt({parameter}, {value})");
    }
}
