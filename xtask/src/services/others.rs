//! Other programs that carry records, for `crash others`: from Debian, Maven and PyPI.
//!
//! Each one is a file to be run with its settings as the only argument.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::cache::Cache;
use super::java::{self, Library};
use super::{Variables, kafka, pip, tools};

const RSYSLOG: &str = include_str!("texts/rsyslog.sh");
/// What brings its modules, and the libraries that PostgreSQL does not bring.
const RSYSLOG_PACKAGES: &[&str] =
    &["rsyslog", "rsyslog-kafka", "rsyslog-pgsql", "libestr0", "libfastjson4", "librdkafka1"];
const MIRROR_MAKER: &str = include_str!("texts/mirror-maker.sh");
const QUIX_STREAMS: &str = include_str!("../../quix-streams-requirements.txt");

/// Installs them, and says where each is as tests are told. What cannot be had is left out.
pub fn programs() -> Result<Variables, String> {
    let cache = Cache::open()?;
    let installed = [
        ("LOGMILL_TEST_RSYSLOG", rsyslog(&cache)),
        ("LOGMILL_TEST_MIRROR_MAKER", mirror_maker(&cache)),
        ("LOGMILL_TEST_QUIX_STREAMS", pip::install(&cache, "quix-streams", QUIX_STREAMS)),
    ];
    let mut programs = Vec::new();
    for (name, program) in installed {
        match program {
            Ok(program) => programs.push((name, program.display().to_string())),
            Err(error) => eprintln!("xtask: goes on without {name}: {error}"),
        }
    }
    Ok(programs)
}

fn rsyslog(cache: &Cache) -> Result<PathBuf, String> {
    let recipe = [RSYSLOG_PACKAGES, &[RSYSLOG]].concat();
    let folder = cache.installed("rsyslog", &recipe, |folder| {
        tools::unpack(RSYSLOG_PACKAGES, folder)?;
        write_program(&folder.join("run.sh"), RSYSLOG)
    })?;
    Ok(folder.join("run.sh"))
}

fn mirror_maker(cache: &Cache) -> Result<PathBuf, String> {
    let folder = cache.installed("mirror-maker", &[kafka::VERSION, MIRROR_MAKER], |folder| {
        let mirror = Library {
            group: "org.apache.kafka",
            name: "connect-mirror",
            version: kafka::VERSION,
            alone: false,
        };
        java::fetch(folder, &[mirror, kafka::LOGGING])?;
        write_program(&folder.join("run.sh"), MIRROR_MAKER)
    })?;
    Ok(folder.join("run.sh"))
}

fn write_program(path: &Path, text: &str) -> Result<(), String> {
    let written = fs::write(path, text)
        .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(0o755)));
    written.map_err(|error| format!("could not write {}: {error}", path.display()))
}
