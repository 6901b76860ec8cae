//! Where the database is: libpq's URL, of which the part about TLS is read here.
//!
//! Nothing in here ever shows a password.

use std::path::PathBuf;

use contract::{Error, Result, Section};
use tokio_postgres::config::{Host, SslMode};

use crate::config::Config;

/// How much of TLS is asked for, as libpq names it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Trust {
    /// No TLS.
    Disable,
    /// TLS if the server offers it, whoever the server is.
    #[default]
    Prefer,
    /// TLS, whoever the server is.
    Require,
    /// TLS with a server whose certificate a known authority signed.
    VerifyCa,
    /// The same, and the certificate names the host.
    VerifyFull,
}

const MODES: [(&str, Trust); 5] = [
    ("disable", Trust::Disable),
    ("prefer", Trust::Prefer),
    ("require", Trust::Require),
    ("verify-ca", Trust::VerifyCa),
    ("verify-full", Trust::VerifyFull),
];

/// What a URL says about TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsSettings {
    /// Who is trusted.
    pub trust: Trust,
    /// The certificates of authorities; the system's own if none is named.
    pub root_cert: Option<PathBuf>,
    /// Our own certificate.
    pub cert: Option<PathBuf>,
    /// Its key.
    pub key: Option<PathBuf>,
}

/// A database to connect to.
#[derive(Clone)]
pub struct Address {
    /// What the client library wants to know.
    pub settings: tokio_postgres::Config,
    /// What is asked of TLS.
    pub tls: TlsSettings,
}

impl Address {
    /// Reads `url` and `password`.
    ///
    /// # Errors
    /// Config: it is no URL of a database.
    pub fn read(config: &Config) -> Result<Self> {
        let wrong = |message: &str| Error::config(message.to_owned()).field("url").hint(FORM);
        let (front, query) = config.url.split_once('?').unwrap_or((&config.url, ""));
        if !["postgres://", "postgresql://"].iter().any(|scheme| front.starts_with(scheme)) {
            return Err(wrong("the URL does not begin with postgres://"));
        }
        refuse_torn_password(&config.url)?;
        let (own, rest): (Vec<_>, Vec<_>) = query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .partition(|pair| is_about_tls(pair.split('=').next().unwrap_or_default()));
        let tls = read_tls(&own.join("&"))?;
        let mut settings: tokio_postgres::Config = format!("{front}?{}", rest.join("&"))
            .parse()
            .map_err(|error| wrong("the URL cannot be read").because(without_value(&error)))?;
        if settings.get_hosts().is_empty() {
            return Err(wrong("the URL names no host"));
        }
        if settings.get_dbname().is_none() {
            return Err(wrong("the URL names no database"));
        }
        if let Some(password) = &config.password {
            settings.password(password);
        }
        settings.ssl_mode(match tls.trust {
            Trust::Disable => SslMode::Disable,
            Trust::Prefer => SslMode::Prefer,
            Trust::Require | Trust::VerifyCa | Trust::VerifyFull => SslMode::Require,
        });
        Ok(Self { settings, tls })
    }

    /// Hosts, ports and database, as people and destinations name them.
    pub fn shown(&self) -> String {
        let ports = self.settings.get_ports();
        let hosts = self.settings.get_hosts().iter().enumerate().map(|(at, host)| {
            let port = ports.get(at).or(ports.first()).copied().unwrap_or(5432);
            match host {
                Host::Tcp(name) => format!("{name}:{port}"),
                Host::Unix(folder) => format!("{}:{port}", folder.display()),
            }
        });
        let hosts: Vec<_> = hosts.collect();
        format!("{}/{}", hosts.join(","), self.settings.get_dbname().unwrap_or_default())
    }
}

const FORM: &str = "write postgres://user:password@host:5432/database?sslmode=verify-full";

/// Where an `@` or `?` of a password ends what the URL says of it, the rest would be taken for the
/// name of a host, a database or an option, and shown as one.
fn refuse_torn_password(url: &str) -> Result<()> {
    let (_, rest) = url.split_once("://").unwrap_or_default();
    let (front, query) = rest.split_once('?').unwrap_or((rest, ""));
    let is_torn = match front.matches('@').count() {
        0 => query.contains('@'),
        1 => false,
        _ => true,
    };
    match is_torn {
        false => Ok(()),
        true => Err(Error::config("the URL has a sign in its user or password that ends it there")
            .field("url")
            .hint("write `@` as %40, `?` as %3F and `%` as %25, or the password as `password`")),
    }
}

fn is_about_tls(key: &str) -> bool {
    ["sslmode", "sslrootcert", "sslcert", "sslkey"].contains(&key)
}

fn read_tls(query: &str) -> Result<TlsSettings> {
    let mut tls = TlsSettings::default();
    for (key, value) in url::form_urlencoded::parse(query.as_bytes()) {
        let path = || Some(PathBuf::from(value.as_ref()));
        match key.as_ref() {
            "sslrootcert" if value == "system" => tls.root_cert = None,
            "sslrootcert" => tls.root_cert = path(),
            "sslcert" => tls.cert = path(),
            "sslkey" => tls.key = path(),
            _ => tls.trust = read_mode(&value)?,
        }
    }
    if tls.cert.is_some() != tls.key.is_some() {
        return Err(Error::config("a certificate of our own needs both sslcert and sslkey")
            .field("url")
            .hint("give the PEM files of the certificate and of its key"));
    }
    // As in libpq: who names an authority wants it to be looked at.
    if tls.trust == Trust::Require && tls.root_cert.is_some() {
        tls.trust = Trust::VerifyCa;
    }
    Ok(tls)
}

fn read_mode(word: &str) -> Result<Trust> {
    let known = MODES.iter().find(|(name, _)| *name == word);
    known.map(|(_, trust)| *trust).ok_or_else(|| {
        Error::config(format!("unknown sslmode {word:?}"))
            .field("url")
            .hint(Section::did_you_mean(word, MODES.iter().map(|(name, _)| *name)))
    })
}

/// What the library says, with the cause that names the option but never its value.
fn without_value(error: &tokio_postgres::Error) -> String {
    let cause = std::error::Error::source(error);
    cause.map_or_else(|| error.to_string(), ToString::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(url: &str) -> Result<Address> {
        let text = format!("{{ url: {url:?}, table: t }}");
        Address::read(&testkit::section(&text).read()?)
    }

    fn check(url: &str, expect: &str) {
        let said = match read(url) {
            Ok(address) => format!("{} {:?}", address.shown(), address.tls.trust),
            Err(error) => error.chain(),
        };
        assert_eq!(said, expect, "{url}");
    }

    #[test]
    fn a_url_says_where_and_how_safely() {
        check("postgres://u:p@db/logs", "db:5432/logs Prefer");
        check("postgresql://u@a:1,b:2/logs?sslmode=disable", "a:1,b:2/logs Disable");
        check("postgres://u@db/logs?sslmode=require", "db:5432/logs Require");
        check("postgres://u@db/logs?sslmode=require&sslrootcert=ca.pem", "db:5432/logs VerifyCa");
        check(
            "postgres://u@db/logs?connect_timeout=3&sslmode=verify-full&sslrootcert=a%20b",
            "db:5432/logs VerifyFull",
        );
        check("mysql://u@db/logs", "the URL does not begin with postgres://");
        check("postgres:///logs", "the URL names no host");
        check("postgres://u@db", "the URL names no database");
        for password in ["hun@ter2", "@ter2", "hun?ter2", "hun?te=r2", "hun/ter2@ter2"] {
            let said = "the URL has a sign in its user or password that ends it there";
            check(&format!("postgres://u:{password}@db/logs"), said);
            check(&format!("postgres://u:{password}@db/logs?sslmode=require"), said);
        }
        for password in ["hun%40ter2", "hun/ter2", "hun#ter2", "hun%3Fter2"] {
            check(&format!("postgres://u:{password}@db/logs"), "db:5432/logs Prefer");
        }
        let torn = "the URL has a sign in its user or password that ends it there";
        check("postgres://db/logs?user=a@b", torn);
        check("postgres://db/logs?user=a%40b", "db:5432/logs Prefer");
        check("postgres://u@db/logs?sslmode=on", "unknown sslmode \"on\"");
        check(
            "postgres://u@db/logs?sslcert=a",
            "a certificate of our own needs both sslcert and sslkey",
        );
        check(
            "postgres://u:hunter2@db/logs?port=hunter2",
            "the URL cannot be read: invalid value for option `port`",
        );
    }

    #[test]
    fn paths_are_decoded() {
        let tls = read("postgres://u@db/logs?sslrootcert=/a%20b/ca.pem").unwrap().tls;
        assert_eq!(tls.root_cert, Some(PathBuf::from("/a b/ca.pem")));
    }
}
