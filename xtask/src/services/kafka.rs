//! Apache Kafka: one broker that is its own controller, with a listener for each kind of client.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::cache::{Cache, write};
use super::java::{self, Library};
use super::ports::{accepts, address};
use super::{Gives, Launch, Service, Site, guard, tools};

pub const VERSION: &str = "4.3.1";
/// What its programs log by.
pub const LOGGING: Library = Library {
    group: "org.apache.logging.log4j",
    name: "log4j-slf4j-impl",
    version: "2.25.4",
    alone: false,
};
const PROPERTIES: &str = include_str!("texts/kafka.properties");
const CERTIFICATES: &str = include_str!("texts/certificates.sh");
/// Any 16 bytes.
const CLUSTER: &str = "bG9nbWlsbC10ZXN0cy0wMQ";

/// Apache Kafka.
pub const SERVICE: Service =
    Service { name: "kafka", installer: "mvn", install, gives: Gives::Server(launch) };

/// The folder with its libraries.
fn install(cache: &Cache) -> Result<PathBuf, String> {
    certificates(cache)?;
    cache.installed("kafka", &[VERSION], |folder| {
        let library =
            |name, alone| Library { group: "org.apache.kafka", name, version: VERSION, alone };
        let libraries = [library("kafka_2.13", false), library("kafka-tools", true), LOGGING];
        java::fetch(folder, &libraries)
    })
}

/// Certificates of an authority, a server and a client; other servers use them too.
pub fn certificates(cache: &Cache) -> Result<PathBuf, String> {
    cache.installed("certificates", &[CERTIFICATES], |folder| {
        tools::need("openssl", "openssl")?;
        let mut script = Command::new("sh");
        script.args(["-c", CERTIFICATES, "sh"]).arg(folder);
        guard::run(&script, &folder.join("log"))
    })
}

fn launch(site: &Site<'_>) -> Result<Launch, String> {
    let installed = install(site.cache)?;
    let certificates = certificates(site.cache)?.display().to_string();
    let port = |listener: &'static str| site.ports.of(listener);
    let (plain, sasl, tls) = (port("kafka")?, port("kafka_sasl_ssl")?, port("kafka_ssl")?);
    let (cut, behind) = (port("kafka_cut")?, port("kafka_behind")?);
    let settings = site.folder.join("server.properties");
    let values = [
        ("folder", &*site.folder.to_string_lossy()),
        ("certificates", &certificates),
        ("plain", &plain.to_string()),
        ("controller", &port("kafka_controller")?.to_string()),
        ("sasl", &sasl.to_string()),
        ("tls", &tls.to_string()),
        ("cut", &cut.to_string()),
        ("behind", &behind.to_string()),
    ];
    write(&settings, PROPERTIES, &values)?;
    format(&installed, &site.folder, &settings)?;
    let mut command = java::machine(&installed);
    command.arg("kafka.Kafka").arg(&settings);
    // The listeners for clients open only when the broker may serve.
    let watched = [plain, sasl, tls, behind];
    Ok(Launch {
        command,
        signal: "TERM",
        ready: Box::new(move || watched.iter().all(|port| accepts(*port))),
        variables: vec![
            ("KAFKA", address(plain)),
            ("KAFKA_SASL_SSL", address(sasl)),
            ("KAFKA_SSL", address(tls)),
            ("KAFKA_CUT", address(cut)),
            ("TLS", certificates),
        ],
    })
}

fn format(installed: &Path, folder: &Path, settings: &Path) -> Result<(), String> {
    let mut command = java::machine(installed);
    command.args(["kafka.tools.StorageTool", "format", "--standalone", "-t", CLUSTER, "-c"]);
    command.arg(settings);
    command.args(["--add-scram", "SCRAM-SHA-512=[name=alice,password=alice-secret]"]);
    guard::run(&command, &folder.join("format.log"))
}
