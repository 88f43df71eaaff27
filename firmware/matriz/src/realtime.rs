//! Realtime manners: the threads that carry sound go before everything else on the machine.
//!
//! Where the system does not allow it the box plays all the same and says once what that may cost.

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
