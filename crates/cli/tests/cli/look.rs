//! The first minute with a log: `logmill look`, and ranges of years.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::serve::{Server, wait_for};
use crate::{Desk, Ran};

/// A line of a request to a path at a moment.
fn line(moment: &str, path: &str, status: u16) -> String {
    format!(
        "192.0.2.1 - - [{moment} +0000] \"GET {path} HTTP/1.1\" {status} 100 \"-\" \"curl/8.0\"\n"
    )
}

/// Some requests of one hour.
fn lines(numbers: std::ops::Range<u32>) -> String {
    numbers
        .map(|n| line(&format!("03/Mar/2026:10:{:02}:00", n % 60), &format!("/{n}"), 200))
        .collect()
}

fn append(desk: &Desk, name: &str, text: &str) {
    let mut file = std::fs::File::options().append(true).open(desk.path().join(name));
    file.as_mut().expect("a file").write_all(text.as_bytes()).expect("written");
}

/// What a look says in JSON.
fn look(desk: &Desk, arguments: &[&str]) -> Value {
    let ran = desk.done(&[&["look", "--format", "json"], arguments].concat());
    ran.json()
}

#[test]
fn a_second_look_reads_only_what_is_new() {
    let desk = Desk::new();
    desk.write("access.log", &(lines(0..20) + "no request\n"));
    let first = look(&desk, &["access.log"]);
    let milled = &first["milled"];
    assert_eq!(
        (&milled["read"], &milled["rows"], &milled["refused"]),
        (&json!(21), &json!(20), &json!(1))
    );
    assert_eq!(first["answers"]["summary"]["requests"], 20);
    assert_eq!(first["answers"]["summary"]["first"], "2026-03-03T10:00:00Z");
    append(&desk, "access.log", &lines(20..25));
    let second = look(&desk, &["access.log"]);
    let milled = &second["milled"];
    assert_eq!(
        (&milled["read"], &milled["rows"], &milled["refused"]),
        (&json!(5), &json!(25), &json!(1))
    );
    // What is milled is a lake as any other.
    let folder = std::fs::read_dir(desk.path().join("logmill-data/look")).expect("a folder");
    let data = folder.map(|entry| entry.expect("an entry").path()).next().expect("a lake");
    let data = data.display().to_string();
    let sql = "SELECT count(*) AS n FROM access_log WHERE ua_browser IS NOT NULL";
    let counted = desk.done(&["query", sql, "--data", &data, "--format", "json"]).json();
    assert_eq!(counted[0]["n"], 25);
    // Another content under the same name is another log.
    desk.write("access.log", &lines(70..73));
    assert_eq!(look(&desk, &["access.log"])["milled"]["rows"], 3);
}

#[test]
fn rotated_and_compressed_files_are_one_log() {
    let desk = Desk::new();
    desk.write("access.log.1", &lines(0..30));
    desk.write("access.log", &lines(30..40));
    let files = ["access.log", "access.log.1"];
    assert_eq!(look(&desk, &files)["milled"]["rows"], 40);
    let rename = |from: &str, to: &str| {
        std::fs::rename(desk.path().join(from), desk.path().join(to)).expect("renamed");
    };
    rename("access.log.1", "access.log.2");
    let packed = Command::new("gzip").arg("access.log.2").current_dir(desk.path()).status();
    assert!(packed.expect("gzip is installed").success());
    rename("access.log", "access.log.1");
    desk.write("access.log", &lines(40..47));
    let again = look(&desk, &["access.log*"]);
    assert_eq!((&again["milled"]["read"], &again["milled"]["rows"]), (&json!(7), &json!(47)));
}

#[test]
fn panels_are_text_where_nobody_has_a_browser() {
    let desk = Desk::new();
    let errors: String = (0..3).map(|_| line("04/Mar/2026:11:00:00", "/broken", 503)).collect();
    desk.write("access.log", &(lines(0..9) + &errors + "no request\n"));
    let Ran { stdout, .. } = desk.done(&["look", "access.log"]);
    for part in [
        "13 lines read in ",
        "; 12 rows\n1 line refused; the first, ",
        "access.log@",
        "\n  no request\n",
        "12 requests, ",
        " 3 server errors\n",
        "2026-03-03T10:00:00Z to 2026-03-04T11:00:00Z\n",
        "\nStatus classes\n  2xx  9  █",
        "\nTop endpoint\n  /broken  3  █",
        "\nTop ip\n  192.0.2.1  12  █",
    ] {
        assert!(stdout.contains(part), "{part}: {stdout}");
    }
    assert!(!stdout.contains('\u{1b}'), "no colours in a pipe: {stdout}");
    let only = desk.done(&["look", "access.log", "--filter", "status>=500"]).stdout;
    assert!(only.contains("\n3 requests, ") && !only.contains("2xx"), "{only}");
    let day = desk.done(&["look", "access.log", "--from", "2026-03-03", "--to", "2026-03-03"]);
    assert!(day.stdout.contains("\n9 requests, "), "{}", day.stdout);
    let wrong = desk.run(&["look", "access.log", "--filter", "stauts=200"]);
    assert_eq!(wrong.code, 2);
    assert!(wrong.stderr.contains("did you mean \"status\"?"), "{}", wrong.stderr);
}

#[test]
fn standard_input_is_looked_at_too() {
    let desk = Desk::new();
    let ran = desk.run_with(&["look", "-", "--format", "json"], lines(0..12));
    assert_eq!((ran.code, &ran.json()["milled"]["rows"]), (0, &json!(12)), "{}", ran.stderr);
    let left = std::fs::read_dir(desk.path().join("logmill-data/look")).expect("a folder");
    assert_eq!(left.count(), 0, "what cannot go on leaves nothing");
    // Long lines: what is looked at first ends in the middle of one.
    let long = line("03/Mar/2026:10:00:00", &format!("/{}", "x".repeat(1_500)), 200).repeat(50);
    let ran = desk.run_with(&["look", "-", "--format", "json"], &long);
    assert_eq!((ran.code, &ran.json()["milled"]["rows"]), (0, &json!(50)), "{}", ran.stderr);
}

/// The same bytes as each compressor that is read writes them.
fn packed(text: &[u8]) -> [Vec<u8>; 4] {
    use std::io::Read;
    let mut gzip = Vec::new();
    let level = flate2::Compression::fast();
    flate2::read::GzEncoder::new(text, level).read_to_end(&mut gzip).expect("memory takes it");
    let mut bzip2 = Vec::new();
    let level = bzip2::Compression::best();
    bzip2::read::BzEncoder::new(text, level).read_to_end(&mut bzip2).expect("memory takes it");
    let mut xz = Vec::new();
    liblzma::read::XzEncoder::new(text, 1).read_to_end(&mut xz).expect("memory takes it");
    [gzip, bzip2, xz, zstd::encode_all(text, 1).expect("memory takes it")]
}

#[test]
fn a_pipe_or_a_file_on_standard_input_is_looked_at_however_it_is_packed() {
    let desk = Desk::new();
    let text = lines(0..20_000);
    for input in packed(text.as_bytes()) {
        let ran = desk.run_with(&["look", "-", "--format", "json"], &input);
        assert_eq!(
            (ran.code, &ran.json()["milled"]["rows"]),
            (0, &json!(20_000)),
            "{}",
            ran.stderr
        );
        std::fs::write(desk.path().join("in"), &input).expect("written");
        let file = std::fs::File::open(desk.path().join("in")).expect("a file");
        let mut command = desk.command(&["look", "-", "--format", "json"]);
        let output = command.stdin(file).output().expect("the program ends");
        let said: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(said["milled"]["rows"], 20_000, "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn a_pipe_that_begins_with_half_a_line_is_looked_at() {
    let desk = Desk::new();
    let mut child = desk
        .command(&["look", "-", "--format", "json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let text = lines(0..3);
    let mut stdin = child.stdin.take().expect("piped");
    stdin.write_all(&text.as_bytes()[..20]).expect("the program reads");
    let waiting = || rustix::io::ioctl_fionread(&stdin).expect("a pipe");
    wait_for("the first bytes are taken", || waiting() == 0);
    stdin.write_all(&text.as_bytes()[20..]).expect("the program reads");
    drop(stdin);
    let output = child.wait_with_output().expect("the program ends");
    let said: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(said["milled"]["rows"], 3);
}

#[test]
fn a_report_needs_no_server_and_no_other_host() {
    let desk = Desk::new();
    let hostile = line("03/Mar/2026:10:00:00", "/</script><script>alert(1)</script>", 200);
    desk.write("access.log", &(lines(0..12) + &hostile));
    let ran = desk.done(&["look", "access.log", "--report", "out.html"]);
    assert!(ran.stdout.ends_with("out.html\n"), "{}", ran.stdout);
    let page = std::fs::read_to_string(desk.path().join("out.html")).expect("written");
    for outside in ["src=\"http", "href=\"http", "url(http", "@import", "src=\"./", "href=\"./"] {
        assert!(!page.contains(outside), "{outside}");
    }
    assert!(!page.contains("<script>alert"), "a line of the log is text");
    if let Some((_, rest)) = page.split_once("id=\"report\">") {
        let (answers, _) = rest.split_once("</script>").expect("an end");
        let answers: Value = serde_json::from_str(answers).expect("JSON");
        assert_eq!(answers["analytics/summary"]["requests"], 13);
        assert!(answers["analytics/timeseries"]["points"].is_array());
        assert!(answers["analytics/top/ip"].is_array());
    } else {
        assert!(page.contains("13 requests, "), "{page}");
    }
}

#[test]
fn what_cannot_be_looked_at_says_how_to_go_on() {
    let desk = Desk::new();
    desk.write("odd.log", &"~~ what is this \u{1b}[31m ~~\n".repeat(20));
    desk.write("empty.log", "");
    let check = |arguments: &[&str], parts: &[&str]| {
        let ran = desk.run(&[&["look"], arguments].concat());
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{arguments:?}: {}", ran.stderr);
        for part in parts {
            assert!(ran.stderr.contains(part), "{part}: {}", ran.stderr);
        }
    };
    check(&["nowhere*.log"], &["no file matches \"nowhere*.log\""]);
    check(&["nowhere.log"], &["there is no file \"nowhere.log\""]);
    check(&["."], &["\".\" is a folder", "hint: name its files"]);
    check(&["empty.log"], &["empty.log holds no line yet"]);
    check(&["odd.log"], &["the first line is: ~~ what is this \\u{1b}[31m ~~", "--as FORMAT"]);
    check(&["odd.log", "--as", "combine"], &["did you mean \"combined\"?"]);
    let ran = desk.run(&["look", "odd.log", "--as", "combined"]);
    assert_eq!(ran.code, 5, "{}", ran.stderr);
    assert!(ran.stdout.contains("20 lines refused"), "{}", ran.stdout);
    let own =
        desk.done(&["look", "odd.log", "--as", "~~ what %{a}i %{b}i %{c}i ~~", "--format", "json"]);
    assert_eq!(own.json()["milled"]["rows"], 20);
}

fn served(desk: &Desk, arguments: &[&str]) -> Server {
    let mut command = desk.command(&[&["look", "--quiet", "--no-open"], arguments].concat());
    command.stdin(Stdio::null());
    Server::of(command)
}

fn requests(server: &Server) -> Value {
    server.get("/analytics/summary?visitors=exclude").json()["requests"].clone()
}

#[test]
fn the_dashboard_is_there_at_once_and_follows_the_files() {
    let desk = Desk::new();
    desk.write("access.log", &lines(0..12));
    let server = served(&desk, &["access.log", "--follow"]);
    wait_for("what there is", || requests(&server) == 12);
    wait_for("its end", || server.get("/session").json()["milling"]["done"] == true);
    append(&desk, "access.log", &lines(12..15));
    wait_for("what came", || requests(&server) == 15);
    let session = server.get("/session").json();
    assert_eq!(session["analytics"]["table"], "access_log");
    assert_eq!(server.get("/pipelines").json()[0]["name"], "look");
    assert_eq!(server.interrupt(), Some(130));
    let server = served(&desk, &["access.log"]);
    wait_for("the same lake", || requests(&server) == 15);
    assert_eq!(server.interrupt(), Some(130));
}

#[test]
fn a_log_that_is_no_log_of_requests_is_looked_at() {
    let desk = Desk::new();
    let level = |n: u32| if n.is_multiple_of(3) { "error" } else { "info" };
    let event = |n: u32| {
        let time = format!("2026-03-03T10:{:02}:00Z", n % 60);
        json!({ "time": time, "level": level(n), "message": format!("event {n}") }).to_string()
    };
    desk.write("app.json", &(0..30).map(|n| event(n) + "\n").collect::<String>());
    let shown = look(&desk, &["app.json"]);
    let answers = &shown["answers"];
    assert_eq!(
        (&answers["summary"]["requests"], &answers["summary"]["errors"]),
        (&json!(30), &Value::Null)
    );
    assert_eq!(answers["summary"]["first"], "2026-03-03T10:00:00Z");
    assert_eq!(answers["top"][0]["column"], "level");
    assert_eq!(
        answers["top"][0]["rows"][0],
        json!({"value": "info", "count": 20, "bytes": null, "visitors": null})
    );
    desk.done(&["look", "app.json", "--report", "out.html"]);
}

/// A server over a line of 1970, 1,200 lines of three years, and a line of 2099.
fn years() -> (Desk, Server) {
    let desk = Desk::new();
    let mut log = line("01/Jan/1970:00:00:00", "/first", 200);
    for month in 0..1200_u32 {
        let (year, day) = (2023 + month / 400, month % 28 + 1);
        let name =
            ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
        let moment = format!("{day:02}/{}/{year}:12:00:00", name[month as usize % 12]);
        log.push_str(&line(&moment, &format!("/{month}"), 200));
    }
    let _ = write!(log, "{}", line("01/Jan/2099:00:00:00", "/last", 200));
    desk.write("access.log", &log);
    let server = served(&desk, &["access.log"]);
    wait_for("all of it", || server.get("/session").json()["milling"]["done"] == true);
    (desk, server)
}

#[test]
fn a_log_of_years_is_drawn_and_its_outliers_are_named() {
    let (_desk, server) = years();
    let series = |query: &str| server.get(&format!("/analytics/timeseries?{query}"));
    let all = series("points=400").json();
    assert_eq!(
        (&all["interval"], all["points"].as_array().map(Vec::len)),
        (&json!("year"), Some(130))
    );
    assert_eq!(all["until"], "2100-01-01T00:00:00Z");
    let far = &all["outliers"];
    assert_eq!((&far["before"], &far["after"]), (&json!(1), &json!(1)));
    assert_eq!((&far["start"], &far["end"]), (&json!("2023-01-01"), &json!("2025-12-28")));
    let rest = series("start=2023-01-01&end=2025-12-31&points=200").json();
    assert_eq!((&rest["interval"], &rest["outliers"]), (&json!("week"), &Value::Null));
    let points = rest["points"].as_array().expect("points");
    assert_eq!(points[0]["ts"], "2022-12-26T00:00:00Z", "a Monday");
    let count =
        |points: &[Value]| points.iter().map(|p| p["requests"].as_u64().unwrap()).sum::<u64>();
    assert_eq!(count(points), 1200);
    let months = series("start=2023-01-01&end=2025-12-31&interval=month&zone=Europe/Berlin").json();
    let points = months["points"].as_array().expect("points");
    assert_eq!((points.len(), count(points)), (36, 1200));
    assert_eq!(
        (&points[3]["ts"], &points[11]["ts"]),
        (&json!("2023-03-31T22:00:00Z"), &json!("2023-11-30T23:00:00Z"))
    );
    assert_eq!(series("interval=day").status, 422, "a width that was asked for has its limit");
    assert_eq!(series("zone=Berlin").status, 400);
}

#[test]
fn a_date_is_its_whole_day_in_the_zone_of_the_request() {
    let desk = Desk::new();
    let moments = [
        "28/Mar/2026:22:59:59",
        "28/Mar/2026:23:00:00",
        "29/Mar/2026:00:00:00",
        "29/Mar/2026:21:59:59",
        "29/Mar/2026:22:00:00",
        "29/Mar/2026:23:59:59",
    ];
    desk.write("access.log", &moments.map(|moment| line(moment, "/", 200)).concat());
    let server = served(&desk, &["access.log"]);
    wait_for("all of it", || server.get("/session").json()["milling"]["done"] == true);
    let total =
        |query: &str| server.get(&format!("/analytics/error_rate?{query}")).json()["total"].clone();
    assert_eq!(total("start=2026-03-29&end=2026-03-29"), 4);
    // A day of 23 hours, which begins an hour before midnight of UTC.
    assert_eq!(total("start=2026-03-29&end=2026-03-29&zone=Europe/Berlin"), 3);
    assert_eq!(total("end=2026-03-28"), 2);
    assert_eq!(total("start=2026-03-30"), 0);
    assert_eq!(total("filter=ts%3C=2026-03-28"), 2);
    let days = server.get("/analytics/timeseries?interval=day&zone=Europe/Berlin").json();
    let counts: Vec<_> = days["points"]
        .as_array()
        .expect("points")
        .iter()
        .map(|point| (point["ts"].clone(), point["requests"].clone()))
        .collect();
    assert_eq!(
        counts,
        [
            (json!("2026-03-27T23:00:00Z"), json!(1)),
            (json!("2026-03-28T23:00:00Z"), json!(3)),
            (json!("2026-03-29T22:00:00Z"), json!(2)),
        ]
    );
}
