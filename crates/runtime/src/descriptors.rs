//! How many files this process may have open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// More is never asked for: some systems count by it.
const DESCRIPTORS_MAX: u64 = 1 << 20;
/// What is assumed where there is no limit.
const UNLIMITED: usize = DESCRIPTORS_MAX as usize;

/// Raises the limit of this process as far as it may without anybody's leave. Called once, before
/// anything is opened; where the system refuses, the limit stays as it is.
pub fn raise() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = maximum.unwrap_or(DESCRIPTORS_MAX).min(DESCRIPTORS_MAX);
    if current.is_some_and(|current| current < wanted) {
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum });
    }
}

/// Files that may be open at once.
pub fn limit() -> usize {
    let limit = getrlimit(Resource::Nofile).current;
    limit.map_or(UNLIMITED, |limit| usize::try_from(limit).unwrap_or(UNLIMITED)).min(UNLIMITED)
}
