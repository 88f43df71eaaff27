//! Realtime manners: the threads that carry sound go before everything else on the machine.
//!
//! Where the system does not allow it the box plays all the same and says once what that may cost. Cores are
//! chosen only where the kernel keeps some free of everything else (`isolcpus=`): elsewhere its
//! scheduler knows better.

use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::mman::{MlockAllFlags, mlockall};
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};
use nix::unistd::Pid;
use std::ffi::CStr;
use std::sync::Once;

/// Priority of the thread that plays the card, when it is ours (JACK's own threads bring theirs).
pub const CARD: i32 = 70;

/// Priority of the network threads: below the card, above everything that can wait.
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

/// Names the calling thread, as `ps` and `matriz system tune` show it. For threads that are not ours to make.
pub fn name(name: &CStr) {
    // It fails for no name of this length, and nothing depends on it.
    let _ = nix::sys::prctl::set_name(name);
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

/// What a thread does, for the choice of its core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// The sound: gets the last of the free cores for itself.
    Sound,
    /// The network: shares the first of them.
    Network,
}

/// Binds the calling thread to a core that the kernel keeps free, if there is one.
pub fn pin(work: Work) {
    let list = std::fs::read_to_string("/sys/devices/system/cpu/isolated").unwrap_or_default();
    let Some(core) = core_for(work, &list) else { return };
    let mut cores = CpuSet::new();
    let bound = cores.set(core).and_then(|()| sched_setaffinity(Pid::from_raw(0), &cores));
    match bound {
        Ok(()) => tracing::debug!("{work:?} has core {core}"),
        Err(error) => tracing::warn!("{work:?} cannot have core {core} ({error}) and shares the others"),
    }
}

/// The core for `work` from the kernel's list, such as `2-3,5`.
fn core_for(work: Work, list: &str) -> Option<usize> {
    let number = |text: &str| text.trim().parse::<usize>().ok();
    let mut cores = list.split(',').filter_map(|part| match part.split_once('-') {
        Some((first, last)) => Some(number(first)?..=number(last)?),
        None => number(part).map(|core| core..=core),
    });
    match work {
        Work::Network => cores.next().map(|part| *part.start()),
        Work::Sound => cores.next_back().map(|part| *part.end()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_cores_are_shared_out_and_others_are_left_alone() {
        let cores = |list| [Work::Sound, Work::Network].map(|work| core_for(work, list));
        assert_eq!(cores("2-3\n"), [Some(3), Some(2)]);
        assert_eq!(cores("1,3,5-7"), [Some(7), Some(1)]);
        assert_eq!(cores("3"), [Some(3), Some(3)], "one is better than none");
        assert_eq!(cores("\n"), [None, None]);
        assert_eq!(cores("nonsense"), [None, None]);
    }
}
