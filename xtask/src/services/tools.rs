//! The programs that install others: there already, or from Debian's packages.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use super::guard;

/// `apt-get` runs once at a time.
static APT: Mutex<()> = Mutex::new(());

/// Makes sure that a program is on the path; root gets it from its package.
pub fn need(program: &str, package: &str) -> Result<(), String> {
    need_that(|| has(program), program, package)
}

/// Makes sure that something is there which a package brings.
pub fn need_that(there: impl Fn() -> bool, what: &str, package: &str) -> Result<(), String> {
    if there() {
        return Ok(());
    }
    let _one_at_a_time = APT.lock().unwrap_or_else(PoisonError::into_inner);
    let hint = format!("{what} is not there; install it (Debian's package {package})");
    if !is_root() || !has("apt-get") {
        return Err(hint);
    }
    eprintln!("xtask: installing Debian's package {package}");
    apt_get(&["update"]).map_err(|error| format!("{hint}: {error}"))?;
    apt_get(&["install", "-y", "--no-install-recommends", package])
        .map_err(|error| format!("{hint}: {error}"))?;
    match there() {
        true => Ok(()),
        false => Err(format!("{package} was installed, but {hint}")),
    }
}

/// Unpacks Debian packages into a folder, without installing them.
pub fn unpack(packages: &[&str], folder: &Path) -> Result<(), String> {
    need("dpkg-deb", "dpkg")?;
    let _one_at_a_time = APT.lock().unwrap_or_else(PoisonError::into_inner);
    if is_root() {
        apt_get(&["update"])?;
    }
    let script = r#"
        cd "$0" && apt-get -q download "$@" || exit 1
        for package in ./*.deb; do dpkg-deb -x "$package" . && rm "$package" || exit 1; done
    "#;
    let mut command = Command::new("sh");
    command.args(["-c", script]).arg(folder).args(packages);
    guard::run(&command, &folder.join("log"))
}

/// Whether we may install packages and become other users.
pub fn is_root() -> bool {
    let output = Command::new("id").arg("-u").output();
    output.is_ok_and(|output| output.stdout == b"0\n")
}

/// The first folder of the path that has all of these programs.
pub fn folder_of(programs: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let has_all = |folder: &PathBuf| programs.iter().all(|program| folder.join(program).is_file());
    std::env::split_paths(&path).find(has_all)
}

fn has(program: &str) -> bool {
    let mut look = Command::new("sh");
    look.args(["-c", r#"command -v "$0""#, program]).stdout(Stdio::null());
    look.status().is_ok_and(|status| status.success())
}

fn apt_get(arguments: &[&str]) -> Result<(), String> {
    let log = std::env::temp_dir().join(format!("logmill-apt-{}.log", std::process::id()));
    let mut command = Command::new("apt-get");
    command.args(["-q", "-o", "DPkg::Lock::Timeout=300"]).args(arguments);
    command.env("DEBIAN_FRONTEND", "noninteractive");
    let result = guard::run(&command, Path::new(&log));
    // A log that stays in the temporary folder does no harm.
    let _ = std::fs::remove_file(log);
    result
}
