//! Countries and cities from databases in MaxMind's file format.
//!
//! Two layouts are read: MaxMind's own (`country.names.en`) and the flat one of other makers
//! (`country_name` or `country_code`, `city`). An empty text counts as unknown.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use contract::transform::Resource;
use contract::{Error, Result};
use maxminddb::{LookupResult, MaxMindDbError, Reader};
use schemars::JsonSchema;
use serde::Deserialize;
use sha2::{Digest, Sha256};

/// Looks addresses up.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GeoIpConfig {
    /// Whether addresses are looked up; if not, the columns are there and null, and no database is
    /// read.
    #[serde(default = "contract::section::yes")]
    pub enabled: bool,

    /// The column of addresses. A port, a zone (`fe80::1%eth0`) and brackets may stand with them.
    #[serde(default = "field_default")]
    pub field: String,

    /// A file in MaxMind's format (`.mmdb`), or a list of files, such as one for each address
    /// family. The first that knows an address answers.
    pub database: Paths,

    /// The language of names, where the database has several.
    #[serde(default = "language_default")]
    pub language: String,
}

fn field_default() -> String {
    "ip".to_owned()
}

fn language_default() -> String {
    "en".to_owned()
}

/// One path or several.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "a path or a list of paths")]
pub enum Paths {
    /// One file for all addresses.
    One(PathBuf),
    /// Files that are asked one after the other.
    Several(Vec<PathBuf>),
}

/// The databases of a step, shared by its workers.
pub struct Databases {
    databases: Vec<Database>,
    language: String,
}

struct Database {
    resource: Resource,
    reader: Reader<Vec<u8>>,
}

impl Databases {
    /// Reads the files.
    ///
    /// # Errors
    /// Config: a file is missing, unreadable, or not in MaxMind's format.
    pub fn open(config: &GeoIpConfig) -> Result<Self> {
        if !config.enabled {
            return Ok(Self { databases: Vec::new(), language: config.language.clone() });
        }
        let paths = match &config.database {
            Paths::One(path) => std::slice::from_ref(path),
            Paths::Several(paths) => paths,
        };
        if paths.is_empty() {
            return Err(Error::config("expected at least one file"));
        }
        let databases = paths.iter().map(|path| Database::open(path)).collect::<Result<_>>()?;
        Ok(Self { databases, language: config.language.clone() })
    }

    /// The files with their content's hash.
    pub fn resources(&self) -> Vec<Resource> {
        self.databases.iter().map(|database| database.resource.clone()).collect()
    }

    /// The record of an address; none if no database has one.
    ///
    /// # Errors
    /// Config: a database is damaged.
    pub fn find(&self, address: IpAddr) -> Result<Option<Found<'_>>> {
        for (number, database) in self.databases.iter().enumerate() {
            if let Some((offset, record)) = database.find(address)? {
                let (id, language) = (RecordId { database: number, offset }, &*self.language);
                return Ok(Some(Found { id, database, record, language }));
            }
        }
        Ok(None)
    }
}

/// A record among those of all databases.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RecordId {
    database: usize,
    offset: usize,
}

/// A record that was found.
pub struct Found<'a> {
    id: RecordId,
    database: &'a Database,
    record: LookupResult<'a, Vec<u8>>,
    language: &'a str,
}

impl Found<'_> {
    /// Which record it is.
    pub fn id(&self) -> RecordId {
        self.id
    }

    /// What it says.
    ///
    /// # Errors
    /// Config: the database is damaged.
    pub fn decode(&self) -> Result<Location> {
        match self.record.decode::<Record<'_>>() {
            Ok(record) => {
                Ok(record.map_or_else(Location::default, |it| it.location(self.language)))
            }
            Err(error) => Err(damaged(&self.database.resource, error)),
        }
    }
}

impl Database {
    fn open(path: &Path) -> Result<Self> {
        let content = fs::read(path).map_err(|error| {
            let path = path.display().to_string();
            Error::config(format!("could not read the GeoIP database {path:?}"))
                .because(error)
                .hint("a free one in this format is GeoLite2-City.mmdb of maxmind.com")
        })?;
        let sha256 = Sha256::digest(&content).iter().map(|byte| format!("{byte:02x}")).collect();
        let resource = Resource { path: path.to_owned(), sha256 };
        match Reader::from_source(content) {
            Ok(reader) => Ok(Self { resource, reader }),
            Err(error) => Err(damaged(&resource, error)),
        }
    }

    /// The record of an address, and where it stands; none if there is none.
    fn find(&self, address: IpAddr) -> Result<Option<(usize, LookupResult<'_, Vec<u8>>)>> {
        if address.is_ipv6() && self.reader.metadata().ip_version == 4 {
            return Ok(None);
        }
        match self.reader.lookup(address) {
            Ok(found) => Ok(found.offset().map(|offset| (offset, found))),
            Err(error) => Err(damaged(&self.resource, error)),
        }
    }
}

fn damaged(resource: &Resource, error: MaxMindDbError) -> Error {
    let path = resource.path.display().to_string();
    Error::config(format!("the GeoIP database {path:?} is damaged or in another format"))
        .because(error)
        .hint("expected a file in MaxMind's format (`.mmdb`), as its maker gives it out")
}

/// What a record of either layout says.
#[derive(Deserialize)]
struct Record<'a> {
    #[serde(borrow)]
    country: Option<Name<'a>>,
    country_name: Option<&'a str>,
    country_code: Option<&'a str>,
    #[serde(borrow)]
    city: Option<Name<'a>>,
    city_name: Option<&'a str>,
}

/// A name in several languages, or one text.
#[derive(Deserialize)]
#[serde(untagged)]
enum Name<'a> {
    Text(&'a str),
    #[serde(borrow)]
    Names(Names<'a>),
}

#[derive(Deserialize)]
struct Names<'a> {
    #[serde(borrow, default)]
    names: BTreeMap<&'a str, &'a str>,
    iso_code: Option<&'a str>,
}

impl<'a> Name<'a> {
    fn in_language(&self, language: &str) -> Option<&'a str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Names(names) => names.names.get(language).copied().or(names.iso_code),
        }
    }
}

impl Record<'_> {
    fn location(&self, language: &str) -> Location {
        let named = |name: &Option<Name<'_>>| known(name.as_ref()?.in_language(language));
        Location {
            country: known(self.country_name)
                .or_else(|| named(&self.country))
                .or_else(|| known(self.country_code)),
            city: named(&self.city).or_else(|| known(self.city_name)),
        }
    }
}

fn known(text: Option<&str>) -> Option<String> {
    text.filter(|text| !text.is_empty()).map(str::to_owned)
}

/// Where an address is.
#[derive(Default)]
pub struct Location {
    /// Its country's name, or code where the database has no names.
    pub country: Option<String>,
    /// Its city's name.
    pub city: Option<String>,
}
