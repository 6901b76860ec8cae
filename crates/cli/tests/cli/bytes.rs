//! Logs as they lie: pipes, damaged archives, NULs, other encodings, lines without end.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::process::{Output, Stdio};
use std::time::{Duration, SystemTime};

use crate::Desk;

const PIPELINE: &str = "\
name: web
sources:
  access: { type: file, paths: ['*.log*'] }
transforms:
  parsed: { type: parse, input: access, format: combined }
sinks:
  lake: { type: lake, input: parsed, table: web }
";

fn line(path: &str) -> String {
    let time = "03/Mar/2026:10:00:00 +0000";
    format!("192.0.2.7 - - [{time}] \"GET /{path} HTTP/1.1\" 200 5 \"-\" \"curl/8\"\n")
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("memory takes it");
    encoder.finish().expect("memory takes it")
}

/// Runs a command that reads `input`.
fn with_input(desk: &Desk, arguments: &[&str], input: &[u8]) -> Output {
    let mut child = desk
        .command(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    // A command that ends before it read all is none that these tests are about.
    child.stdin.take().expect("piped").write_all(input).expect("the program reads");
    child.wait_with_output().expect("the program ends")
}

fn paths(desk: &Desk) -> String {
    let sql = "SELECT path FROM web ORDER BY _split, _position";
    desk.done(&["query", sql, "--format", "csv"]).stdout.replace('\n', " ")
}

#[test]
fn a_pipe_is_queried_to_its_end() {
    let desk = Desk::new();
    let text: String = (0..20_000).map(|number| line(&number.to_string())).collect();
    let sql = "SELECT count(*) AS n FROM log('/dev/stdin', 'combined')";
    let packed = gzip(text.as_bytes());
    let torn = &text.as_bytes()[..text.len() - 1];
    for input in [text.as_bytes(), torn, &packed] {
        let output = with_input(&desk, &["query", sql, "--format", "csv"], input);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "n\n20000\n", "{said}");
    }
    // The columns of JSON are learnt from the first lines, which are read again as rows.
    let sql = "SELECT sum(n) AS n FROM log('/dev/stdin', 'json')";
    let output = with_input(&desk, &["query", sql, "--format", "csv"], b"{\"n\":1}\n{\"n\":2}\n");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "n\n3\n");
}

#[test]
fn a_named_pipe_is_queried_to_its_end() {
    let desk = Desk::new();
    let pipe = desk.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo runs");
    assert!(made.success());
    let writer = std::thread::spawn(move || std::fs::write(pipe, line("a")));
    let sql = "SELECT path FROM log('pipe', 'combined')";
    assert_eq!(desk.done(&["query", sql, "--format", "csv"]).stdout, "path\n/a\n");
    writer.join().expect("it ends").expect("somebody reads");
}

#[test]
fn a_pipe_that_is_read_twice_is_an_error() {
    let desk = Desk::new();
    let sql = "SELECT count(*) FROM log('/dev/stdin', 'combined') \
               UNION ALL SELECT count(*) FROM log('/dev/stdin', 'combined')";
    let output = with_input(&desk, &["query", sql], line("a").as_bytes());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("\"/dev/stdin\" is a pipe, which can be read once"), "{said}");
    assert_ne!(output.status.code(), Some(0));
    // The query itself came from there.
    let sql = "SELECT count(*) FROM log('/dev/stdin', 'combined')";
    let output = with_input(&desk, &["query"], sql.as_bytes());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("can be read once"), "{said}");
}

#[test]
fn what_is_no_file_is_passed_over_with_a_word() {
    let desk = Desk::new();
    desk.write("a.log", &line("a"));
    std::os::unix::fs::symlink("gone", desk.path().join("b.log")).expect("a link");
    std::os::unix::fs::symlink("/dev/stdout", desk.path().join("c.log")).expect("a link");
    let sql = "SELECT path FROM log('[abc].log', 'combined')";
    let ran = desk.done(&["query", sql, "--format", "csv"]);
    assert_eq!(ran.stdout, "path\n/a\n");
    for (name, what) in [("b.log", "a link that leads nowhere"), ("c.log", "a pipe")] {
        let is_told = |line: &str| line.contains(name) && line.contains(what);
        assert!(ran.stderr.lines().any(is_told), "{name}: {}", ran.stderr);
    }
    let ran = desk.run(&["query", "SELECT 1 FROM log('c.log', 'combined')"]);
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    assert!(ran.stderr.contains("a pipe that this command writes to"), "{}", ran.stderr);
}

#[test]
fn garbage_behind_an_archive_is_one_dead_letter() {
    let desk = Desk::new();
    let packed = gzip((line("a") + &line("b")).as_bytes());
    let bytes = [packed.as_slice(), b"garbage"].concat();
    std::fs::write(desk.path().join("a.log.gz"), bytes).expect("written");
    desk.write("b.log", &line("c"));
    desk.write("web.yaml", PIPELINE);
    desk.done(&["run", "web.yaml", "--until-end"]);
    assert_eq!(paths(&desk), "path /a /b /c ");
    let letters = desk.done(&["dead-letters", "list", "--format", "json"]).stdout;
    let place = format!("byte {} of the compressed form", packed.len());
    assert_eq!(letters.matches("garbage").count(), 1, "{letters}");
    assert!(letters.contains(&place) && letters.contains("a.log.gz"), "{letters}");
    desk.done(&["audit", "web.yaml"]);
    desk.done(&["run", "web.yaml", "--until-end"]);
    assert_eq!(paths(&desk), "path /a /b /c ");
}

#[test]
fn an_archive_that_begins_with_noise_is_read_in_every_way() {
    let noise = (0..700u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8);
    let packed = [gzip(line("a").as_bytes()), zstd::encode_all(line("a").as_bytes(), 1).unwrap()];
    for (packed, name) in packed.into_iter().zip(["a.log.gz", "a.log.zst"]) {
        let archive: Vec<u8> = noise.clone().chain(packed).collect();
        let stdio = PIPELINE.replace("type: file, paths: ['*.log*']", "type: stdio");
        for pipeline in [PIPELINE, &stdio] {
            let desk = Desk::new();
            std::fs::write(desk.path().join(name), &archive).expect("written");
            desk.write("web.yaml", pipeline);
            let output = with_input(&desk, &["run", "web.yaml", "--until-end"], &archive);
            assert!(output.status.success(), "{output:?}");
            assert_eq!(paths(&desk), "path /a ");
            let letters = desk.done(&["dead-letters", "list", "--format", "json"]).stdout;
            assert_eq!(letters.matches("belongs to no").count(), 1, "{letters}");
            desk.done(&["audit", "web.yaml"]);
            for place in [name, "/dev/stdin"] {
                let sql = format!("SELECT path FROM log('{place}', 'combined')");
                let output = with_input(&desk, &["query", &sql, "--format", "csv"], &archive);
                assert_eq!(String::from_utf8_lossy(&output.stdout), "path\n/a\n", "{place}");
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                assert!(said.contains("1 line left out"), "{place}: {said}");
            }
        }
    }
}

#[test]
fn what_is_wrong_with_one_member_of_an_archive_spares_the_others() {
    let desk = Desk::new();
    let mut cut = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    cut.write_all((line("a") + "192.0.2.9 - - [cut").as_bytes()).expect("memory takes it");
    cut.flush().expect("memory takes it");
    let mut wrong = gzip(line("b").as_bytes());
    let sum = wrong.len() - 8;
    wrong[sum] ^= 1;
    let parts = [cut.get_ref().as_slice(), &wrong, b"garbage", &gzip(line("c").as_bytes())];
    let archive = parts.concat();
    std::fs::write(desk.path().join("a.log.gz"), &archive).expect("written");
    let stdio = PIPELINE.replace("type: file, paths: ['*.log*']", "type: stdio");
    for pipeline in [PIPELINE, &stdio] {
        let desk = Desk::new();
        std::fs::write(desk.path().join("a.log.gz"), &archive).expect("written");
        desk.write("web.yaml", pipeline);
        let output = with_input(&desk, &["run", "web.yaml", "--until-end"], &archive);
        assert!(output.status.success(), "{output:?}");
        assert_eq!(paths(&desk), "path /a /b /c ");
        let letters = desk.done(&["dead-letters", "list", "--format", "json"]).stdout;
        let reasons =
            ["was not finished before the next one", "is wrong", "belongs to no gzip member"];
        for reason in reasons {
            assert_eq!(letters.matches(reason).count(), 1, "{reason}: {letters}");
        }
        desk.done(&["audit", "web.yaml"]);
    }
    for place in ["a.log.gz", "/dev/stdin"] {
        let sql = format!("SELECT path FROM log('{place}', 'combined')");
        let output = with_input(&desk, &["query", &sql, "--format", "csv"], &archive);
        assert_eq!(String::from_utf8_lossy(&output.stdout), "path\n/a\n/b\n/c\n", "{place}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains("3 lines left out"), "{place}: {said}");
        assert!(said.contains("was not finished before the next one begins"), "{place}: {said}");
    }
}

#[test]
fn nuls_before_a_line_are_left_out_and_told() {
    let desk = Desk::new();
    let bytes = [vec![0; 100_000], line("a").into_bytes()].concat();
    std::fs::write(desk.path().join("a.log"), bytes).expect("written");
    desk.write("web.yaml", PIPELINE);
    let ran = desk.done(&["run", "web.yaml", "--until-end"]);
    for part in ["NULs", "a.log", "100000"] {
        assert!(ran.stderr.contains(part), "{part}: {}", ran.stderr);
    }
    let sql = "SELECT ip, _position FROM web";
    let row = desk.done(&["query", sql, "--format", "csv"]).stdout;
    assert_eq!(row, "ip,_position\n192.0.2.7,100000\n");
    let sql = "SELECT ip FROM log('a.log', 'combined')";
    let ran = desk.done(&["query", sql, "--format", "csv"]);
    assert_eq!(ran.stdout, "ip\n192.0.2.7\n");
    assert!(ran.stderr.contains("100000 NULs left out, from byte 0 on"), "{}", ran.stderr);
}

#[test]
fn lines_that_reach_a_file_behind_later_ones_are_delivered_once() {
    let desk = Desk::new();
    let mut late: String = (0..40).map(|number| line(&format!("late{number:02}"))).collect();
    // What comes late ends where a page does.
    let written = line("a").len() + late.len() + line("").len();
    late += &line(&"x".repeat((written + 1).next_multiple_of(4096) - written));
    let bytes = [line("a").into_bytes(), vec![0; late.len()], line("z").into_bytes()].concat();
    std::fs::write(desk.path().join("a.log"), bytes).expect("written");
    desk.write("web.yaml", PIPELINE);
    let ran = desk.done(&["run", "web.yaml", "--until-end"]);
    let nuls = format!("nuls={}", late.len());
    let is_told = |line: &str| line.contains("a.log") && line.contains(&nuls);
    assert!(ran.stderr.lines().any(is_told), "{}", ran.stderr);
    assert_eq!(paths(&desk), "path /a ");
    let file = File::options().write(true).open(desk.path().join("a.log")).expect("written");
    file.write_all_at(late.as_bytes(), line("a").len() as u64).expect("written");
    let ran = desk.done(&["run", "web.yaml", "--until-end"]);
    assert!(!ran.stderr.contains("NULs"), "{}", ran.stderr);
    let count = "SELECT count(*), count(DISTINCT path), count(DISTINCT _split) FROM web";
    let counted = desk.done(&["query", count, "--format", "csv"]).stdout;
    assert!(counted.ends_with("\n43,43,1\n"), "{counted}");
    desk.done(&["audit", "web.yaml"]);
}

#[test]
fn a_hole_behind_which_somebody_writes_without_pause_holds_nothing_back_for_long() {
    let desk = Desk::new();
    std::fs::write(desk.path().join("a.log"), vec![0; 200 * 512]).expect("written");
    desk.write("web.yaml", &PIPELINE.replace("['*.log*']", "['*.log*'], settle: 1s"));
    let mut child = desk.command(&["run", "web.yaml"]).stderr(Stdio::null()).spawn().expect("runs");
    let mut file = File::options().append(true).open(desk.path().join("a.log")).expect("written");
    let mut written = 0;
    testkit::wait::until("lines behind the hole", Duration::from_secs(60), || {
        file.write_all(line(&written.to_string()).as_bytes()).expect("written");
        written += 1;
        let ran = desk.run(&["query", "SELECT count(*) FROM web", "--format", "csv"]);
        let rows = ran.stdout.lines().nth(1).and_then(|rows| rows.parse::<usize>().ok());
        rows.filter(|rows| *rows > 0)
    });
    child.kill().expect("it runs");
    child.wait().expect("it ends");
    desk.done(&["run", "web.yaml", "--until-end"]);
    let counted = "SELECT count(*), count(DISTINCT path) FROM web";
    let counted = desk.done(&["query", counted, "--format", "csv"]).stdout;
    assert!(counted.ends_with(&format!("\n{written},{written}\n")), "{counted}");
    desk.done(&["audit", "web.yaml"]);
}

#[test]
fn other_encodings_and_blanks_are_read() {
    let desk = Desk::new();
    let text = format!("\u{feff}{}", line("a"));
    let utf16: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
    std::fs::write(desk.path().join("a.log"), utf16).expect("written");
    desk.write("b.log", &text.replace("/a ", "/b "));
    desk.write("c.log", &line("c").replace('\n', " \t \r\n"));
    let sql = "SELECT ip, path FROM log('*.log', 'combined') ORDER BY path";
    let rows = desk.done(&["query", sql, "--format", "csv"]).stdout;
    assert_eq!(rows, "ip,path\n192.0.2.7,/a\n192.0.2.7,/b\n192.0.2.7,/c\n");
}

#[test]
fn a_line_without_end_waits_for_the_run_that_finds_its_end() {
    let desk = Desk::new();
    let (first, second) = (line("a"), line("b"));
    let (begin, end) = second.split_at(30);
    desk.write("a.log", &(first.clone() + begin));
    desk.write("web.yaml", PIPELINE);
    let ran = desk.done(&["run", "web.yaml", "--until-end"]);
    let is_told = |line: &str| line.contains("a.log") && line.contains("bytes=30");
    assert!(ran.stderr.lines().any(is_told), "{}", ran.stderr);
    desk.write("a.log", &(first + begin + end));
    let ran = desk.done(&["run", "web.yaml", "--until-end"]);
    assert!(!ran.stderr.contains("has no end"), "{}", ran.stderr);
    assert_eq!(paths(&desk), "path /a /b ");
    let letters = desk.done(&["dead-letters", "list", "--format", "json"]).stdout;
    assert!(!letters.contains("reason"), "{letters}");
}

#[test]
fn an_archive_of_tar_is_named_wherever_it_comes_from() {
    let desk = Desk::new();
    desk.write("a.txt", &line("a").repeat(20));
    for (name, flags) in [("x.tar", "-cf"), ("x.tar.gz", "-czf")] {
        let mut tar = std::process::Command::new("tar");
        let tar = tar.args([flags, name, "a.txt"]).current_dir(desk.path()).status();
        assert!(tar.expect("tar runs").success());
        let bytes = std::fs::read(desk.path().join(name)).expect("it was made");
        desk.write("in.yaml", &PIPELINE.replace("type: file, paths: ['*.log*']", "type: stdio"));
        let of_file = format!("SELECT count(*) FROM log('{name}')");
        let of_pipe = "SELECT count(*) FROM log('/dev/stdin', 'combined')";
        let commands: [(&[&str], &[u8]); 5] = [
            (&["run", "in.yaml", "--until-end"], &bytes),
            (&["query", of_pipe], &bytes),
            (&["query", &of_file], b""),
            (&["look", "-"], &bytes),
            (&["look", name], b""),
        ];
        for (arguments, input) in commands {
            let output = with_input(&desk, arguments, input);
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(1), "{arguments:?} {name}: {said}");
            assert!(said.contains("it is a tar archive, and no log"), "{arguments:?}: {said}");
            assert!(said.contains("unpack it"), "{arguments:?}: {said}");
        }
    }
}

#[test]
fn a_run_with_an_end_waits_for_a_short_file_that_may_be_a_copy() {
    let desk = Desk::new();
    desk.write("web.yaml", &PIPELINE.replace("['*.log*']", "['*.log*'], rotate_wait: 300ms"));
    desk.write("access.log", &line("a"));
    desk.write("access.log.1", &line("a"));
    // However long the program takes to begin, the file was just changed: nothing but the time that
    // it was looked at lets it go.
    let file = File::options().append(true).open(desk.path().join("access.log.1"));
    let hour = SystemTime::now() + Duration::from_secs(3600);
    file.and_then(|file| file.set_modified(hour)).expect("our own file");
    let ran = desk.done(&["run", "web.yaml", "--until-end"]);
    assert!(ran.stderr.contains("repeats the beginning of"), "{}", ran.stderr);
    assert_eq!(paths(&desk), "path /a /a ");
    desk.done(&["audit", "web.yaml"]);
}

#[test]
fn logs_that_are_equal_are_read_and_a_copy_is_named_with_the_way_out() {
    let desk = Desk::new();
    let paths = "['host*/*.log*']";
    desk.write("web.yaml", &PIPELINE.replace("['*.log*']", &format!("{paths}, rotate_wait: 1ms")));
    for folder in ["host1", "host2"] {
        std::fs::create_dir(desk.path().join(folder)).expect("made");
        desk.write(&format!("{folder}/app.log"), &line("a").repeat(30));
    }
    desk.write("host1/app.log.1", &line("a").repeat(20));
    let told = "it holds nothing but the first 20 lines (";
    let checked = desk.done(&["check", "web.yaml"]);
    assert!(checked.stdout.contains(told), "{}", checked.stdout);
    assert!(checked.stdout.contains("set `copies: read`"), "{}", checked.stdout);
    let ran = desk.done(&["run", "web.yaml", "--until-end", "--format", "json"]);
    for part in ["host2/app.log", "host1/app.log", "begin with the same 30 lines (", told] {
        assert!(ran.stderr.contains(part), "{part}: {}", ran.stderr);
    }
    let summary = ran.json();
    let unread = &summary["unread"][0];
    assert_eq!(unread["state"], "passed_over", "{summary}");
    assert!(unread["split"].as_str().is_some_and(|it| it.ends_with("app.log.1")), "{summary}");
    let sql = "SELECT count(*) AS n FROM web";
    assert_eq!(desk.done(&["query", sql, "--format", "csv"]).stdout, "n\n60\n");
    // A log of its own it is by a word.
    desk.write("web.yaml", &PIPELINE.replace("['*.log*']", &format!("{paths}, copies: read")));
    desk.done(&["run", "web.yaml", "--until-end"]);
    assert_eq!(desk.done(&["query", sql, "--format", "csv"]).stdout, "n\n80\n");
    desk.done(&["audit", "web.yaml"]);
}
