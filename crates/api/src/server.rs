//! The listening side: connections, TLS, the clocks of slow clients, and a clean end.
//!
//! HTTP/1.1 only. Every connection holds one of a limited number of places; who comes when all are
//! taken waits in the system's queue.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use contract::error::Context;
use contract::{Error, Result};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tracing::{debug, warn};

use crate::options::{Limits, Options};
use crate::site::Site;
use crate::stream::Impatient;
use crate::{routes, tls};

/// How long requests may go on after the server was asked to stop.
const GRACE: Duration = Duration::from_secs(10);
/// The pause after the system refused a connection (no more files).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The bytes of a request's head, its address included.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// The lines of a request's head.
const HEADERS_MAX: usize = 100;

/// A server that listens.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    tls: Option<TlsAcceptor>,
    limits: Limits,
    site: Arc<Site>,
}

impl Server {
    /// Begins to listen. Nothing is answered before [`Server::run`].
    ///
    /// # Errors
    /// Config: the address is no address, or open to others without a token or certificates.
    /// External: the address is taken.
    pub async fn bind(options: Options) -> Result<Self> {
        let wanted = &options.listen;
        let addresses = addresses(wanted, "--listen 127.0.0.1:8000").await?;
        options.access.check(&addresses)?;
        let listener = listen(&addresses, wanted).await?;
        let address = listener.local_addr().external(|| "the listener has no address".into())?;
        let tls = tls::acceptor(&options.access)?;
        let limits = options.limits.clone();
        let site = Arc::new(Site::new(options)?);
        Ok(Self { listener, address, tls, limits, site })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until `stop` turns true, then lets requests under way end.
    pub async fn run(self, stop: watch::Receiver<bool>) {
        let router = routes::router(self.site.clone());
        let door = Door { listener: self.listener, tls: self.tls, limits: self.limits };
        door.answer(router, stop, || self.site.end()).await;
    }
}

/// The addresses that a name and a port stand for.
///
/// # Errors
/// Config: there are none; `example` shows how to write one.
pub async fn addresses(wanted: &str, example: &str) -> Result<Vec<SocketAddr>> {
    let addresses = tokio::net::lookup_host(wanted).await.map_err(|error| {
        Error::config(format!("{wanted:?} is no address to listen on"))
            .because(error)
            .hint(format!("write `{example}`"))
    })?;
    Ok(addresses.collect())
}

/// Listens on the first of these addresses that is free.
///
/// # Errors
/// External: none is.
pub async fn listen(addresses: &[SocketAddr], wanted: &str) -> Result<TcpListener> {
    TcpListener::bind(addresses).await.map_err(|error| {
        Error::external(format!("could not listen on {wanted:?}"))
            .because(error)
            .hint("another program may have the port; port 0 takes a free one")
    })
}

/// Where connections come in.
pub struct Door {
    /// The listener.
    pub listener: TcpListener,
    /// How connections are made safe.
    pub tls: Option<TlsAcceptor>,
    /// What requests may use.
    pub limits: Limits,
}

impl Door {
    /// Answers until `stop` turns true, says so by `ending`, then lets requests under way end.
    pub async fn answer(
        self,
        router: Router,
        mut stop: watch::Receiver<bool>,
        ending: impl FnOnce(),
    ) {
        let places = Arc::new(Semaphore::new(self.limits.connections_max));
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                () = asked_to(&mut stop) => break,
                Some(_) = connections.join_next() => continue,
                accepted = self.accept(&places) => accepted,
            };
            let Some((stream, place)) = accepted else { continue };
            let (tls, limits) = (self.tls.clone(), self.limits.clone());
            let (router, stop) = (router.clone(), stop.clone());
            connections.spawn(async move {
                answer(stream, tls, router, &limits, stop).await;
                drop(place);
            });
        }
        drop(self.listener);
        ending();
        let all = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(GRACE, all).await.is_err() {
            debug!("requests were still under way when the server ended");
        }
    }

    async fn accept(&self, places: &Arc<Semaphore>) -> Option<(TcpStream, OwnedSemaphorePermit)> {
        let place = places.clone().acquire_owned().await.ok()?;
        match self.listener.accept().await {
            Ok((stream, _)) => Some((stream, place)),
            Err(error) => {
                warn!(%error, "could not accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                None
            }
        }
    }
}

async fn answer(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    router: Router,
    limits: &Limits,
    stop: watch::Receiver<bool>,
) {
    // Without it an answer may wait for the client's acknowledgement; nothing else depends on it.
    let _ = stream.set_nodelay(true);
    let stream = Impatient::new(stream, limits.write_timeout);
    let Some(tls) = tls else { return speak(stream, router, limits, stop).await };
    match tokio::time::timeout(limits.head_timeout, tls.accept(stream)).await {
        Ok(Ok(stream)) => speak(stream, router, limits, stop).await,
        Ok(Err(error)) => debug!(%error, "a client did not come to terms about TLS"),
        Err(_) => debug!("a client took too long over TLS"),
    }
}

async fn speak<S>(stream: S, router: Router, limits: &Limits, mut stop: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut settings = http1::Builder::new();
    settings
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_timeout)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX);
    let service = TowerToHyperService::new(router);
    let mut connection = std::pin::pin!(settings.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = asked_to(&mut stop) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        debug!(%error, "a connection ended early");
    }
}

/// Waits until the server is asked to stop, or nobody is left who could ask.
async fn asked_to(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}
