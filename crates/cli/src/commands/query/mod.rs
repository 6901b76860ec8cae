//! `logmill query`: SQL over lake tables and raw logs, once or in a shell.

pub mod named;
mod shell;

use std::io::{IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use contract::error::Context;
use contract::quantity::ByteSize;
use contract::{Error, Result};
use query::log::Refusal;
use query::{Limits, Session};
use runtime::FirstRefused;

use crate::arguments::{self, Format, Global};
use crate::failure::{self, Exit};
use crate::output::{self, rows};
use crate::variables::assignment;
use crate::{elsewhere, signals};

const EXAMPLES: &str = "\
Examples:
  logmill query \"SELECT status, count(*) FROM log('access.log*') GROUP BY status\"
  logmill query \"SELECT path, count(*) AS hits FROM web GROUP BY 1 ORDER BY 2 DESC LIMIT 10\"
  logmill query \"SHOW TABLES\"
  logmill query --format csv -o day.csv \"SELECT * FROM web WHERE ts >= '2026-11-01'\"
  logmill query --list                       the queries that come with pipelines
  logmill query --file top-pages --param limit=3
  logmill query --file errors.sql --format json
  echo \"SELECT 1\" | logmill query
  logmill query                              a shell

Tables: every table of the lake, those that pipelines keep elsewhere (`url`), and dead_letters,
  late, ledger.
Functions: those of SQL, parse_url, parse_query, redact, ip_in, ip_mask, ip_only, hash, and
  log('FILES'), which finds out the format and says so; log('FILES', 'FORMAT'), where FORMAT is
  one of those that `logmill connectors parse` lists; log('FILES', 'regex', 'PATTERN'),
  log('FILES', 'custom', 'LOG FORMAT OF THE SERVER'), log('FILES', 'docker', 'FORMAT INSIDE').";

/// Ask lake tables and raw logs in SQL. Only reads.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Query {
    /// The query; without one, standard input is read, and on a terminal a shell starts.
    #[arg(conflicts_with_all = ["file", "list"])]
    sql: Option<String>,

    /// The query in a file: a path, or the name of one that comes with a pipeline, as `--list`
    /// shows them (`queries/NAME.sql` beside the file of a pipeline that has run, or here).
    #[arg(long, value_name = "NAME", conflicts_with = "list")]
    file: Option<String>,

    /// List the queries that have a name, with the values that they take.
    #[arg(long)]
    list: bool,

    /// The only folder in which named queries are looked for.
    #[arg(long, value_name = "DIR", env = "LOGMILL_QUERIES")]
    queries: Option<PathBuf>,

    /// The value of `$NAME` in the query; may be repeated.
    #[arg(long = "param", value_name = "NAME=VALUE", value_parser = assignment)]
    parameters: Vec<(String, String)>,

    /// Write the rows to a file instead of stdout.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// Memory that the query may use before it spills to disk.
    #[arg(long, value_name = "SIZE", default_value = "1GiB", value_parser = size)]
    memory: ByteSize,

    /// Time that the query may take.
    #[arg(long, value_name = "DURATION", value_parser = arguments::duration)]
    timeout: Option<Duration>,
}

pub async fn start(query: &Query, global: &Global) -> Result<Exit> {
    signals::end_at_once()?;
    let folder = query.queries.as_deref();
    if query.list {
        output::check_format(global)?;
        return named::list(folder, global).map(|()| Exit::Done);
    }
    if let Some(name) = &query.file {
        let named = named::find(name, folder, &global.data)?;
        let values = named.values(&query.parameters)?;
        let answered = answer(&open(query, global)?, (&named.sql, &values), query, global).await;
        return answered.map_err(|error| named.within(error));
    }
    let session = open(query, global)?;
    match &query.sql {
        Some(sql) => answer(&session, (sql, &query.parameters), query, global).await,
        None if std::io::stdin().is_terminal() => {
            shell::start(&session, global).await?;
            Ok(Exit::Done)
        }
        None => {
            let mut sql = String::new();
            std::io::stdin().read_to_string(&mut sql).external(|| "could not read stdin".into())?;
            query::log::take_stdin();
            answer(&session, (&sql, &query.parameters), query, global).await
        }
    }
}

fn open(query: &Query, global: &Global) -> Result<Session> {
    let limits = Limits { memory_bytes: query.memory.as_usize(), time: query.timeout };
    Session::open_with(&global.data, limits, elsewhere::of(&global.data))
}

async fn answer(
    session: &Session,
    (sql, values): (&str, &[(String, String)]),
    query: &Query,
    global: &Global,
) -> Result<Exit> {
    if global.format == Format::Parquet && query.output.is_none() {
        return Err(Error::config("Parquet needs a file").hint("name it with `-o FILE`"));
    }
    refuse_no_query(sql)?;
    let found = session.query_with(sql, values).await;
    report_taken(session);
    let found = found.map_err(|error| without_data(error, global))?;
    let out = rows::open(query.output.as_deref())?;
    let printed = rows::print(found, global.format, out).await;
    let refused = report_refused(session);
    let unread = report_unread(session, global);
    printed?;
    Ok(match (unread, refused) {
        (Some(exit), _) => exit,
        (None, Some((lines, first))) => failure::all_refused(lines, Some(first), global),
        (None, None) => Exit::Done,
    })
}

/// Refuses what is no query at first sight: nothing, or the name of a file.
fn refuse_no_query(sql: &str) -> Result<()> {
    let sql = sql.trim();
    if sql.is_empty() {
        return Err(Error::config("there is no query")
            .hint("logmill query \"SELECT status, count(*) FROM log('access.log*') GROUP BY 1\""));
    }
    if Path::new(sql).is_file() {
        let hint = match sql.ends_with(".sql") {
            true => format!("logmill query --file {sql}"),
            false => format!("logmill query \"SELECT * FROM log('{sql}') LIMIT 10\""),
        };
        return Err(Error::config(format!("{sql:?} is a file, not a query")).hint(hint));
    }
    Ok(())
}

/// Names each file of a pattern that `log(…)` could not read to its end; none if there is none.
fn report_unread(session: &Session, global: &Global) -> Option<Exit> {
    let unread = session.unread_files().take();
    unread.values().fold(None, |_, error| Some(failure::report(error, global)))
}

/// An error of a query, with a word on a data folder that is not there.
fn without_data(error: Error, global: &Global) -> Error {
    if global.data.is_dir() || !error.to_string().starts_with("there is no table") {
        return error;
    }
    let data = global.data.display().to_string();
    let hint = error.hint_text().unwrap_or_default();
    let hint = format!("there is no data folder {data:?} (`--data`); {hint}");
    error.hint(hint)
}

/// Says on stderr which formats `log(…)` found out.
fn report_taken(session: &Session) {
    let mut stderr = std::io::stderr().lock();
    for sentence in session.taken_formats().take() {
        // Where stderr is closed there is nobody to tell.
        let _ = writeln!(stderr, "{}", rows::visible(&sentence));
    }
}

/// Says on stderr which lines `log(…)` left out. Where those are all that there were: how many, and
/// the first of them.
fn report_refused(session: &Session) -> Option<(u64, FirstRefused)> {
    let mut stderr = std::io::stderr().lock();
    let mut all = 0;
    let mut first = None;
    let accepted = session.refused_lines().take_accepted();
    for (file, refusal) in session.refused_lines().take() {
        let file = file.display();
        // Where stderr is closed there is nobody to tell.
        if refusal.skipped > 0 {
            let Refusal { skipped, skipped_from, .. } = refusal;
            let _ =
                writeln!(stderr, "{file}: {skipped} NULs left out, from byte {skipped_from} on");
        }
        if refusal.lines == 0 {
            continue;
        }
        let lines = if refusal.lines == 1 { "line" } else { "lines" };
        let _ = writeln!(
            stderr,
            "{file}: {} {lines} left out; the first, at byte {}: {}",
            refusal.lines,
            refusal.position,
            rows::visible(&refusal.reason)
        );
        all += refusal.lines;
        first.get_or_insert(FirstRefused {
            split: file.to_string(),
            position: refusal.position,
            reason: refusal.reason,
            line: refusal.line,
        });
    }
    first.filter(|_| accepted == 0).map(|first| (all, first))
}

fn size(text: &str) -> std::result::Result<ByteSize, String> {
    ByteSize::parse(text).ok_or_else(|| "expected a size such as 512MiB or 2GB".to_owned())
}
