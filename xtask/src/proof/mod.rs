//! `cargo xtask proof DIR`: what was handed to us from outside of the repository, tried on the
//! program.
//!
//! `DIR/cases` holds scripts, `DIR/data` real logs and whatever else files may hold. Everything is
//! tried, also after a failure: a line says what held and what did not. `cargo xtask test` has
//! small inputs of its own of each kind, and needs no such folder.

mod cases;
mod logs;
mod scratch;
mod tried;

use std::path::{Path, PathBuf};

use clap::Args;

use crate::steps::{cargo, step, target};
use tried::Tried;

/// What to try.
#[derive(Args)]
pub struct Options {
    /// The folder with `cases`, `data`, or both.
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Try the program that `cargo build` makes, and not the released one.
    #[arg(long)]
    debug: bool,
    /// Kills at random moments of the real log, beside one at each point.
    #[arg(long, default_value_t = 40)]
    kills: usize,
    /// Try only what has this in its name.
    #[arg(long, value_name = "TEXT", default_value = "")]
    only: String,
}

/// The programs, and what is chosen.
struct Site<'a> {
    program: PathBuf,
    /// Kills the program.
    crash: PathBuf,
    /// Absolute: cases go to folders of their own.
    folder: PathBuf,
    options: &'a Options,
}

/// Builds the program, tries everything, prints a line for each and the total.
///
/// # Errors
/// The build fails, there is nothing to try, or something does not hold.
pub fn run(options: &Options) -> Result<(), String> {
    let folder = std::path::absolute(&options.folder).map_err(|error| error.to_string())?;
    let (profile, build) = match options.debug {
        true => ("debug", cargo(["build", "--workspace", "--bins"])),
        false => ("release", cargo(["build", "--release", "--workspace", "--bins"])),
    };
    step(&format!("{profile} build"), build)?;
    let built = target(profile);
    let (program, crash) = (built.join("logmill"), built.join("crash"));
    all(&Site { program, crash, folder, options })
}

fn all(site: &Site<'_>) -> Result<(), String> {
    let mut tried = Tried::new(&site.options.only);
    cases::run(site, &mut tried)?;
    logs::run(site, &mut tried)?;
    let folder = site.folder.display();
    tried.close().map_err(|error| format!("{folder}: {error}"))
}

/// All files below a folder, in the order of their names; none where it is absent.
fn files_below(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let mut files = Vec::new();
    if !folder.is_dir() {
        return Ok(files);
    }
    let failed = |error| format!("could not list {}: {error}", folder.display());
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        match path.is_dir() {
            true => files.extend(files_below(&path)?),
            false => files.push(path),
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use super::{Options, Site, all};

    fn script(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, format!("#!/bin/sh\n{text}\n")).expect("a script");
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("it may run");
    }

    /// What comes of a folder with these scripts of cases and these files, where `audit` of the
    /// program ends with this exit code.
    fn check(name: &str, cases: &[(&str, &str)], data: &[&str], audit: u8) -> Result<(), String> {
        let folder = std::env::temp_dir().join(format!("proof-{name}-{}", std::process::id()));
        for (case, text) in cases {
            script(&folder.join("cases").join(case).join("run.sh"), text);
        }
        for file in data {
            fs::create_dir_all(folder.join("data")).expect("a folder");
            fs::write(folder.join("data").join(file), "a\nb\n").expect("a file");
        }
        let program = folder.join("bin/program");
        let query = "case $2 in *reason*) echo reason;; *) echo 2;; esac";
        script(&program, &format!("case $1 in audit) exit {audit};; query) {query};; esac"));
        let options = Options { folder: folder.clone(), debug: true, kills: 0, only: "".into() };
        let crash = program.clone();
        let outcome = all(&Site { program, crash, folder: folder.clone(), options: &options });
        fs::remove_dir_all(folder).expect("the folder");
        outcome.map_err(|error| error.rsplit(": ").next().unwrap_or_default().to_owned())
    }

    #[test]
    fn a_case_holds_that_says_so_and_ends_well() {
        let good = ("a", "[ -x \"$LOGMILL\" ] && echo PASS a");
        assert_eq!(check("good", &[good], &[], 0), Ok(()));
        let failed = |all: u8| Err(format!("1 of {all} do not hold"));
        assert_eq!(check("bad", &[good, ("b", "echo FAIL b; exit 1")], &[], 0), failed(2));
        assert_eq!(check("silent", &[("a", "true")], &[], 0), failed(1));
        assert_eq!(check("died", &[("a", "echo PASS a; exit 1")], &[], 0), failed(1));
    }

    #[test]
    fn data_holds_where_it_is_proved_and_counted() {
        assert_eq!(check("data", &[], &["any.zip", "s3_access.log"], 0), Ok(()));
        let error = check("lost", &[], &["any.zip"], 3);
        assert_eq!(error, Err("1 of 1 do not hold".to_owned()));
        // One line of that log is known to be broken, and the program refused none.
        let error = check("taken", &[], &["apache_logs"], 0);
        assert_eq!(error, Err("2 of 3 do not hold".to_owned()));
    }

    #[test]
    fn a_folder_without_anything_to_try_proves_nothing() {
        assert_eq!(check("empty", &[], &[], 0), Err("nothing to try".to_owned()));
    }
}
