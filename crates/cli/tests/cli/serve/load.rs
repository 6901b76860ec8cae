//! What many clients, slow clients and clients that leave do to the server: nothing.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use super::{Server, loaded, wait_for};

const CLIENTS: usize = 1000;
const REQUESTS: usize = 4;
/// Memory that the server may take for all of them.
const GROWTH_MAX: u64 = 300 << 20;

#[test]
fn a_thousand_clients_at_once_are_served_or_told_to_come_again() {
    let desk = loaded();
    let server = Arc::new(Server::start(&desk, &[]));
    server.get("/analytics/summary");
    let before = server.resident();
    let (begin, statuses) = (Barrier::new(CLIENTS), Mutex::new(BTreeMap::<u16, usize>::new()));
    let peak = AtomicUsize::new(0);
    thread::scope(|threads| {
        for client in 0..CLIENTS {
            let (server, begin, statuses, peak) = (&server, &begin, &statuses, &peak);
            let work = move || {
                begin.wait();
                for request in 0..REQUESTS {
                    let path = match (client + request) % 4 {
                        0 => "/analytics/summary".to_owned(),
                        // Nobody else asks this.
                        1 => format!(
                            "/analytics/timeseries?filter=bytes>={client}&points={}",
                            request + 9
                        ),
                        2 => format!("/analytics/top/path?filter=response_time_ms<={client}"),
                        _ => "/pipelines".to_owned(),
                    };
                    let got = server.get(&path);
                    assert!(got.status != 503 || got.head.contains("retry-after"), "{got:?}");
                    *statuses.lock().unwrap().entry(got.status).or_default() += 1;
                    let now = usize::try_from(server.resident()).unwrap();
                    peak.fetch_max(now, Ordering::Relaxed);
                }
            };
            thread::Builder::new().stack_size(256 << 10).spawn_scoped(threads, work).unwrap();
        }
    });
    let statuses = statuses.into_inner().unwrap();
    assert!(statuses.keys().all(|status| [200, 503].contains(status)), "{statuses:?}");
    assert_eq!(statuses.values().sum::<usize>(), CLIENTS * REQUESTS);
    assert!(statuses[&200] > CLIENTS, "{statuses:?}");
    let peak = peak.into_inner() as u64;
    assert!(peak < before + GROWTH_MAX, "{} MiB, then {} MiB", before >> 20, peak >> 20);
    wait_for("connections are given back", || server.opened() < 100);
}

#[test]
fn a_client_that_dawdles_is_let_go_and_disturbs_nobody() {
    let desk = loaded();
    let server = Server::start(&desk, &[]);
    let before = server.opened();
    let mut slow: Vec<_> = (0..200)
        .map(|_| {
            let mut stream = server.connect();
            stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: loc").expect("sent");
            stream
        })
        .collect();
    let begun = Instant::now();
    assert_eq!(server.get("/analytics/error_rate").json()["total"], 4);
    assert!(begun.elapsed() < Duration::from_secs(10), "others are served meanwhile");
    for stream in &mut slow {
        let mut answer = Vec::new();
        // Closed by the server, with or without a word.
        let _ = stream.read_to_end(&mut answer);
    }
    drop(slow);
    wait_for("all of them are let go", || server.opened() <= before + 8);
}

#[test]
fn a_query_ends_with_its_client() {
    let desk = loaded();
    let server = Server::start(&desk, &[]);
    let children = || {
        let task = format!("/proc/{0}/task/{0}/children", server.child.id());
        let of_main = std::fs::read_to_string(task).unwrap_or_default();
        let all = std::fs::read_dir(format!("/proc/{}/task", server.child.id())).unwrap();
        let of_tasks = all
            .flatten()
            .map(|task| std::fs::read_to_string(task.path().join("children")).unwrap_or_default());
        of_tasks.chain([of_main]).any(|children| !children.trim().is_empty())
    };
    let sql = "{\"sql\": \"SELECT count(*) FROM generate_series(1, 100000000000)\"}";
    let mut stream = server.connect();
    let request = format!(
        "POST /query HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{sql}",
        sql.len()
    );
    stream.write_all(request.as_bytes()).expect("sent");
    wait_for("the query runs", children);
    let left = Instant::now();
    drop(stream);
    wait_for("the query is gone", || !children());
    assert!(left.elapsed() < Duration::from_secs(10), "long before its time was over");
}

#[test]
fn a_server_that_is_told_to_stop_ends_its_streams_and_then_itself() {
    let desk = loaded();
    let mut server = Server::start(&desk, &[]);
    let mut stream = server.connect();
    stream.write_all(b"GET /analytics/tail HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("sent");
    let mut first = [0; 16];
    stream.read_exact(&mut first).expect("it begins");
    let mut sent = std::process::Command::new("kill");
    sent.args(["-TERM", &server.child.id().to_string()]);
    assert!(sent.status().expect("kill starts").success());
    let begun = Instant::now();
    let status = server.child.wait().expect("it ends");
    assert_eq!(status.code(), Some(143));
    assert!(begun.elapsed() < Duration::from_secs(9), "it does not wait for the stream");
}
