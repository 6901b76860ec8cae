//! Who holds a lease, and whether it can be proved dead.
//!
//! A proof needs the same boot of the same machine and the same namespace of process ids; then a
//! number that is free, or was given to a process that started at another time, proves it. Where
//! any of these cannot be read, nothing is proved.

use std::collections::HashSet;
use std::fs;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};
use serde::{Deserialize, Serialize};

/// The holders in this process that live: one may be gone while its process goes on.
static LIVING: LazyLock<Mutex<HashSet<String>>> = LazyLock::new(Mutex::default);

/// A holder of a lease, as it signs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Random.
    pub id: String,
    /// The machine's name, for people.
    pub host: String,
    /// The boot of the machine.
    boot: String,
    /// The namespace in which `pid` counts.
    pid_namespace: String,
    /// The process.
    pub pid: u32,
    /// When it started, in ticks since the boot.
    started: Option<u64>,
}

/// A [`Holder`] in this process, which lives until this is dropped.
#[derive(Debug)]
pub struct Living(pub Holder);

impl Living {
    /// A new holder.
    pub fn new() -> Self {
        let pid = std::process::id();
        let holder = Holder {
            id: format!("{:016x}", rand::random::<u64>()),
            host: first_line("/proc/sys/kernel/hostname"),
            boot: first_line("/proc/sys/kernel/random/boot_id"),
            pid_namespace: pid_namespace(),
            pid,
            started: started(pid),
        };
        living().insert(holder.id.clone());
        Self(holder)
    }
}

impl Drop for Living {
    fn drop(&mut self) {
        living().remove(&self.0.id);
    }
}

impl Holder {
    /// Whether it is proved that it will never write again.
    pub fn is_proved_dead(&self) -> bool {
        let comparable = !self.boot.is_empty()
            && !self.pid_namespace.is_empty()
            && self.started.is_some()
            && self.boot == first_line("/proc/sys/kernel/random/boot_id")
            && self.pid_namespace == pid_namespace();
        if !comparable {
            return false;
        }
        if self.pid == std::process::id() && self.started == started(self.pid) {
            return !living().contains(&self.id);
        }
        self.is_gone()
    }

    /// Whether the process has ended. One that may not be looked at has not.
    fn is_gone(&self) -> bool {
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        if pid.is_some_and(|pid| test_kill_process(pid) == Err(Errno::SRCH)) {
            return true;
        }
        match status(self.pid) {
            Some(status) => status.is_over || Some(status.started) != self.started,
            None => false,
        }
    }
}

fn living() -> MutexGuard<'static, HashSet<String>> {
    LIVING.lock().unwrap_or_else(PoisonError::into_inner)
}

fn first_line(path: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().next().unwrap_or_default().to_owned()
}

fn pid_namespace() -> String {
    let link = fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    link.to_string_lossy().into_owned()
}

fn started(pid: u32) -> Option<u64> {
    status(pid).map(|status| status.started)
}

/// What the kernel says of a process.
struct Status {
    started: u64,
    /// Only its exit code is left.
    is_over: bool,
}

fn status(pid: u32) -> Option<Status> {
    let status = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name of the program stands in brackets and may itself hold spaces and brackets.
    let (_, fields) = status.rsplit_once(") ")?;
    let mut fields = fields.split(' ');
    let is_over = matches!(fields.next()?, "Z" | "X");
    Some(Status { started: fields.nth(18)?.parse().ok()?, is_over })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_is_gone_from_this_boot_is_proved_dead() {
        let living = Living::new();
        let holder = living.0.clone();
        assert!(holder.started.is_some(), "this process has started");
        assert!(!holder.is_proved_dead(), "it lives");
        let elsewhere = Holder { boot: "another".into(), ..holder.clone() };
        let before = Holder { started: Some(1), ..holder.clone() };
        drop(living);
        assert!(holder.is_proved_dead(), "it is gone from a process that goes on");
        assert!(before.is_proved_dead(), "its number was given to another process");
        assert!(!elsewhere.is_proved_dead(), "nothing is known of another machine");
        let unknown = Holder { started: None, ..holder };
        assert!(!unknown.is_proved_dead(), "nothing can be compared");
    }

    #[test]
    fn a_child_that_ended_is_proved_dead_before_anyone_has_waited_for_it() {
        let mut child = std::process::Command::new("true").spawn().expect("a child");
        let mut holder = Living::new().0.clone();
        (holder.pid, holder.started) = (child.id(), started(child.id()));
        let stat = format!("/proc/{}/stat", child.id());
        while !fs::read_to_string(&stat).expect("its remains").contains(") Z ") {
            std::thread::yield_now();
        }
        assert!(holder.is_proved_dead());
        child.wait().expect("ended");
    }
}
