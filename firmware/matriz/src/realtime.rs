//! Realtime manners: the threads that carry sound go before everything else on the machine.
//!
//! Where the system does not allow it the box plays all the same and says once what that may cost.

use nix::sys::mman::{MlockAllFlags, mlockall};
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};
use std::sync::Once;

/// Priority of the thread that plays the card, when it is ours (JACK's own threads bring theirs).
pub const CARD: i32 = 70;

/// Priority of the network thread: below the card, above everything that can wait.
pub const NETWORK: i32 = 65;

/// Makes the calling thread a realtime thread (`SCHED_FIFO`) of `priority`, 1 to 99.
pub fn promote(priority: i32) {
    static TOLD: Once = Once::new();
    let parameters = libc::sched_param { sched_priority: priority };
    // SAFETY: 0 is the calling thread, and the kernel only reads `parameters`, which outlives the call.
    let failed = unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const parameters) } != 0;
    if failed {
        TOLD.call_once(|| {
            tracing::warn!(
                "no realtime priority ({}): the sound may break up when the machine is busy; allow it with \
                 `ulimit -r 90` or by the group `audio` in /etc/security/limits.d",
                std::io::Error::last_os_error()
            );
        });
    }
}

/// Keeps all memory of the process in RAM, so that no cycle waits for a disk. Only where the system lets
/// us lock as much as we like: with a limit, memory that is asked for later would be refused.
pub fn lock_memory() {
    let limit = getrlimit(Resource::RLIMIT_MEMLOCK).map_or(0, |(soft, _)| soft);
    let allowed = limit == RLIM_INFINITY || nix::unistd::geteuid().is_root();
    if !allowed || mlockall(MlockAllFlags::MCL_CURRENT | MlockAllFlags::MCL_FUTURE).is_err() {
        tracing::warn!(
            "memory is not locked: the sound may break up when the machine runs out of it; allow it with \
             `ulimit -l unlimited` or by the group `audio` in /etc/security/limits.d"
        );
    }
}
