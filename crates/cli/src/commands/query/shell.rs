//! The SQL shell: statements end with a semicolon, the history is kept beside the lake.

use std::path::Path;
use std::time::Instant;

use contract::Result;
use contract::error::Context;
use query::Session;
use rustyline::DefaultEditor;
use rustyline::error::ReadlineError;

use super::{report_refused, report_taken, report_unread, without_data};
use crate::arguments::Global;
use crate::failure;
use crate::output::{self, rows};

const PROMPT: &str = "logmill> ";
const PROMPT_INSIDE: &str = "      -> ";
const HISTORY: &str = ".query_history";
const GREETING: &str = "SQL, ended by a semicolon. SHOW TABLES; lists the tables, \\q ends.";

/// What the user wants next.
enum Typed {
    Statement(String),
    Nothing,
    End,
}

/// Reads and answers statements until the end of input.
///
/// # Errors
/// External: the terminal does not work.
pub async fn start(session: &Session, global: &Global) -> Result<()> {
    let mut editor = DefaultEditor::new().external(unusable)?;
    let history = global.data.join(HISTORY);
    // The first shell has no history yet.
    let _ = editor.load_history(&history);
    output::write(|out| std::io::Write::write_all(out, format!("{GREETING}\n").as_bytes()))?;
    loop {
        match statement(&mut editor)? {
            Typed::End => break,
            Typed::Nothing => {}
            Typed::Statement(sql) => {
                editor.add_history_entry(&sql).external(unusable)?;
                if let Err(error) = answer(session, &sql, global).await {
                    failure::report(&error, global);
                }
            }
        }
    }
    keep(&mut editor, &history);
    Ok(())
}

fn statement(editor: &mut DefaultEditor) -> Result<Typed> {
    let mut sql = String::new();
    loop {
        let prompt = if sql.is_empty() { PROMPT } else { PROMPT_INSIDE };
        let line = match editor.readline(prompt) {
            Ok(line) => line,
            Err(ReadlineError::Interrupted) => return Ok(Typed::Nothing),
            Err(ReadlineError::Eof) => return Ok(Typed::End),
            Err(error) => return Err(error).external(unusable),
        };
        match line.trim() {
            "\\q" | "exit" | "quit" if sql.is_empty() => return Ok(Typed::End),
            "" if sql.is_empty() => return Ok(Typed::Nothing),
            line => sql.push_str(line),
        }
        if let Some(whole) = sql.strip_suffix(';') {
            return Ok(Typed::Statement(whole.to_owned()));
        }
        sql.push('\n');
    }
}

async fn answer(session: &Session, sql: &str, global: &Global) -> Result<()> {
    let begun = Instant::now();
    let found = session.query(sql).await;
    report_taken(session);
    let found = found.map_err(|error| without_data(error, global))?;
    let count = rows::print(found, global.format, rows::open(None)?).await;
    report_refused(session);
    report_unread(session, global);
    let seconds = begun.elapsed().as_secs_f64();
    let count = count?;
    let rows = if count == 1 { "row" } else { "rows" };
    output::write(|out| {
        std::io::Write::write_all(out, format!("{count} {rows}, {seconds:.3} s\n").as_bytes())
    })
}

/// A data folder that does not exist is not made for the sake of a history.
fn keep(editor: &mut DefaultEditor, history: &Path) {
    if history.parent().is_some_and(Path::is_dir)
        && let Err(error) = editor.save_history(history)
    {
        tracing::warn!(%error, "could not keep the history of the shell");
    }
}

fn unusable() -> String {
    "the terminal cannot be used".to_owned()
}
