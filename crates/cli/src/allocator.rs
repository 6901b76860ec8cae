//! The memory allocator, and how soon it gives memory back to the system.
//!
//! Batches are made by one thread and freed by another, a few megabytes at a time. mimalloc keeps
//! freed memory for a second by default, which holds half a gigabyte at full speed (measured: 540
//! MB against 380 MB, for 1 % of the time).

use std::ffi::c_int;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `mi_option_purge_delay` of mimalloc 2 and 3; the bindings do not name it.
const PURGE_DELAY: c_int = 15;
/// Milliseconds after which freed memory goes back.
const PURGE_DELAY_MS: i64 = 10;

/// Makes the allocator give freed memory back after some milliseconds. Called first in `main`.
#[allow(unsafe_code, reason = "the allocator's options can only be set through its C functions")]
pub fn give_back_soon() {
    // SAFETY: sets a number in a table of the allocator. No other thread runs yet, the index is
    // below the table's end in both versions of the library, and any value is allowed.
    unsafe { libmimalloc_sys::mi_option_set(PURGE_DELAY, PURGE_DELAY_MS) }
}
