//! What a server is told: where it listens, whom it trusts, what it shows and what it may use.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use connector_lake::table::Location;
use contract::{Error, Result, SplitId};

use crate::host::Host;
use crate::milling::Milling;

/// A server in the making.
pub struct Options {
    /// Where it listens: `127.0.0.1:8000`.
    pub listen: String,
    /// The data folder (`--data`).
    pub data: PathBuf,
    /// Who may ask.
    pub access: Access,
    /// What requests may use.
    pub limits: Limits,
    /// The table and its column of times.
    pub analytics: Option<Analytics>,
    /// The run of this process that fills the table, if there is one.
    pub milling: Option<Milling>,
    /// The rest of the program.
    pub host: Arc<dyn Host>,
    /// The program's version.
    pub version: &'static str,
}

/// Who may ask.
#[derive(Clone, Default)]
pub struct Access {
    /// The word that a request must bring.
    pub token: Option<String>,
    /// Certificate and key of the server, PEM.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// The authorities that sign the certificates of clients, PEM.
    pub client_ca: Option<PathBuf>,
}

/// The token is not for logs.
impl fmt::Debug for Access {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Access")
            .field("certificate", &self.certificate)
            .field("client_ca", &self.client_ca)
            .finish_non_exhaustive()
    }
}

impl Access {
    /// Refuses addresses that others can reach, unless they have to show who they are.
    ///
    /// # Errors
    /// Config.
    pub fn check(&self, addresses: &[SocketAddr]) -> Result<()> {
        let open = addresses.iter().find(|address| !is_loopback(address.ip()));
        match open {
            Some(address) if self.token.is_none() && self.client_ca.is_none() => {
                Err(Error::config(format!("others can reach {address}, and anybody could ask"))
                    .hint("give `--token-file FILE`, or `--tls-client-ca FILE` with certificates"))
            }
            _ => Ok(()),
        }
    }

    /// Whether only programs of this machine may ask, without showing who they are.
    pub fn is_local(&self) -> bool {
        self.token.is_none() && self.client_ca.is_none()
    }
}

fn is_loopback(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_loopback(),
        IpAddr::V6(address) => {
            address.to_ipv4_mapped().map_or(address.is_loopback(), |mapped| mapped.is_loopback())
        }
    }
}

/// What requests may use.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections that are open.
    pub connections_max: usize,
    /// Requests that wait for an answer of the data; more are told to come again.
    pub requests_max: usize,
    /// Queries that are worked on at the same time; the others wait.
    pub queries_max: usize,
    /// Open event streams.
    pub tails_max: usize,
    /// Time for the head of a request, and between two requests.
    pub head_timeout: Duration,
    /// Time for a request, from its head to the head of the answer.
    pub request_timeout: Duration,
    /// Time in which a client must take what waits for it.
    pub write_timeout: Duration,
    /// Bytes of a request's body.
    pub body_bytes_max: usize,
    /// Memory of all queries together; beyond it they spill to disk.
    pub memory_bytes: usize,
    /// Processes that answer SQL at the same time; other queries wait.
    pub workers_max: usize,
    /// Memory of a query in SQL; beyond it sorts, joins and groups spill to disk.
    pub query_memory_bytes: usize,
    /// Time of a query in SQL.
    pub query_timeout: Duration,
    /// Bytes of answers that are remembered.
    pub cache_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            connections_max: 4096,
            requests_max: 512,
            queries_max: cores.max(2),
            tails_max: 64,
            head_timeout: Duration::from_secs(15),
            request_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(30),
            body_bytes_max: 64 << 10,
            memory_bytes: 256 << 20,
            workers_max: cores.max(2),
            query_memory_bytes: 256 << 20,
            query_timeout: Duration::from_secs(20),
            cache_bytes: 32 << 20,
        }
    }
}

impl Limits {
    /// Longest time that a request may take beyond its query's.
    const BESIDE_QUERY: Duration = Duration::from_secs(10);

    /// These, with another time for a query in SQL; a request may always take longer.
    #[must_use]
    pub fn with_query_timeout(self, query_timeout: Duration) -> Self {
        let request_timeout = self.request_timeout.max(query_timeout + Self::BESIDE_QUERY);
        Self { query_timeout, request_timeout, ..self }
    }
}

/// Which table the analytics read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Analytics {
    /// Its name.
    pub table: String,
    /// Its column of times.
    pub time: String,
    /// Where it is.
    pub backend: Backend,
}

/// Where a table is.
#[derive(Clone, PartialEq, Eq)]
pub enum Backend {
    /// A Delta table, in a folder or in a store.
    Lake {
        /// The place.
        location: Location,
        /// Splits whose rows do not count.
        without: Vec<SplitId>,
    },
    /// A table of PostgreSQL.
    Postgres {
        /// The database: `postgres://user:password@host:5432/database`.
        url: String,
        /// The password, if it is not in the URL.
        password: Option<String>,
    },
}

/// Passwords are not for logs.
impl fmt::Debug for Backend {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl Backend {
    /// The word in the settings.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Lake { .. } => "lake",
            Self::Postgres { .. } => "postgres",
        }
    }
}
