//! `logmill look`: the first minute with a log. Recognises it, mills it into a lake of its own, and
//! shows what is in it.
//!
//! Reading order: [`files`] (what is named), [`place`] (the lake of these files), [`recognise`]
//! (how lines are written), [`mill`] (the pipeline and its run), [`ask`] (the questions), [`show`]
//! (the answers as text), [`open`] (the browser).

mod ask;
mod files;
mod mill;
mod open;
mod place;
mod recognise;
mod show;

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use contract::error::Context;
use contract::{Error, Result};
use serde_json::{Value, json};

use crate::arguments::Global;
use crate::failure::Exit;
use crate::{output, signals};
use ask::Scope;
use files::Input;
use mill::Milled;
use place::Place;

const EXAMPLES: &str = "\
Examples:
  logmill look access.log                    the dashboard of one file
  logmill look /var/log/nginx/access.log*    rotated and compressed ones too
  logmill look access.log --follow           goes on as the file grows
  logmill look access.log --report out.html  one page that needs no server
  logmill look access.log --text             the same in the terminal
  zcat old.log.gz | logmill look -
  logmill look access.log --filter 'status>=500' --from 2026-03-01 --to 2026-03-31
  logmill look app.log --as '%h %t \"%r\" %>s'  a format that was not recognised

What was milled stays in the data folder under `look`, so that a second look reads only what is new.
Without a browser, or where the output goes to a file or a pipe, the answer is text.";

/// Look at a log: the dashboard, a page or text, within seconds and without any file of settings.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Look {
    /// Log files, plain or compressed; patterns; or `-` for standard input.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<String>,

    /// How the lines are written, instead of what is recognised: a name that `logmill connectors
    /// parse` lists, or the server's own log format.
    #[arg(long = "as", value_name = "FORMAT")]
    written: Option<String>,

    /// Go on as the files grow, until Ctrl-C.
    #[arg(long, conflicts_with_all = ["report", "text"])]
    follow: bool,

    /// Write one page that holds everything and needs no server, and end.
    #[arg(long, value_name = "FILE", conflicts_with = "text")]
    report: Option<PathBuf>,

    /// Print the panels as text, and end.
    #[arg(long)]
    text: bool,

    /// Serve the dashboard and open no browser.
    #[arg(long, conflicts_with_all = ["report", "text"])]
    no_open: bool,

    /// The port of the dashboard, on this machine alone. By default a free one.
    #[arg(long, value_name = "PORT", conflicts_with_all = ["report", "text"])]
    port: Option<u16>,

    #[command(flatten)]
    scope: Scope,
}

/// Where the answers go.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Shown {
    /// To a browser, which is opened where there is one.
    Served(open::Browser),
    /// To a page.
    Page(PathBuf),
    /// To standard output.
    Text,
}

impl Look {
    fn shown(&self, global: &Global) -> Shown {
        if let Some(page) = &self.report {
            return Shown::Page(page.clone());
        }
        let browser = match self.no_open || !std::io::stdout().is_terminal() {
            true => open::Browser::none(),
            false => open::Browser::find(),
        };
        let is_asked_for = self.follow || self.no_open || self.port.is_some();
        let nobody_looks = global.format.is_for_machines() || !browser.is_there();
        match self.text || (nobody_looks && !is_asked_for) {
            true => Shown::Text,
            false => Shown::Served(browser),
        }
    }
}

pub async fn start(look: &Look, global: &Global) -> Result<Exit> {
    let shown = look.shown(global);
    let input = files::find(&look.files)?;
    let place = Place::of(&input, look.written.as_deref(), &global.data)?;
    let decided = match place.decided() {
        Some(decided) => decided,
        None => {
            let decided = recognise::decide(&input, look.written.as_deref())?;
            say(global, &format!("{}: {}", input.name(), decided.told));
            decided
        }
    };
    let file = mill::write(&place, &input, &decided)?;
    place.keep(&input, &decided)?;
    let global = Global { data: place.folder().to_owned(), ..global.clone() };
    let look_at = mill::Looked { file, decided, global };
    match shown {
        Shown::Served(browser) => mill::served(&look_at, look, &input, &browser).await,
        Shown::Page(page) => {
            let (milled, summary) = mill::to_the_end(&look_at).await?;
            write_page(&look_at, look, &page, &input, &milled).await?;
            summary.check_complete()?;
            Ok(ended(&milled))
        }
        Shown::Text => {
            let (milled, summary) = mill::to_the_end(&look_at).await?;
            let answers = ask::text(&look_at.answers()?, &look.scope).await?;
            let whole = json!({ "log": input.name(), "milled": &milled, "answers": &answers });
            output::value(&look_at.global, &whole, |out| {
                show::summary(out, &milled)?;
                show::panels(out, &answers, show::width())
            })?;
            summary.check_complete()?;
            Ok(ended(&milled))
        }
    }
}

/// How the command ends where the run was not interrupted.
fn ended(milled: &Milled) -> Exit {
    match signals::exit() {
        Exit::Done if milled.rows == 0 && milled.refused > 0 => Exit::Refused,
        exit => exit,
    }
}

async fn write_page(
    looked: &mill::Looked,
    look: &Look,
    page: &Path,
    input: &Input,
    milled: &Milled,
) -> Result<()> {
    let answers = looked.answers()?;
    let title = format!("{} · Logmill", input.name());
    let whole = ask::all(&answers, &look.scope).await?;
    let text = match api::report::page(&title, &whole) {
        Some(text) => text,
        None => plain_page(&title, &ask::text(&answers, &look.scope).await?, milled)?,
    };
    let shown = page.display().to_string();
    std::fs::write(page, text).external(|| format!("could not write {shown:?}"))?;
    let written = json!({ "report": shown, "milled": milled });
    output::value(&looked.global, &written, |out| {
        show::summary(out, milled)?;
        writeln!(out, "{shown}")
    })
}

/// The panels as text, for a program that was built without the dashboard.
fn plain_page(title: &str, answers: &Value, milled: &Milled) -> Result<String> {
    let mut text = Vec::new();
    show::summary(&mut text, milled)
        .and_then(|()| show::panels(&mut text, answers, show::WIDTH))
        .bug("memory refuses text")?;
    let escaped = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;");
    let (title, text) = (escaped(title), escaped(&String::from_utf8_lossy(&text)));
    Ok(format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\
         <meta name=\"color-scheme\" content=\"light dark\"></head><body><h1>{title}</h1>\
         <pre>{text}</pre></body></html>\n"
    ))
}

/// A word beside the results.
fn say(global: &Global, line: &str) {
    if global.logs_everything() {
        tracing::info!("{line}");
    } else if !global.quiet && !global.format.is_for_machines() {
        // Where stderr is closed there is nobody to tell.
        let _ = writeln!(std::io::stderr(), "{line}");
    }
}

/// A path as text, which pipeline files are made of.
fn text(path: &Path) -> Result<String> {
    path.to_str().map(str::to_owned).ok_or_else(|| {
        Error::config(format!("the name of {:?} is no UTF-8", path.display().to_string()))
            .hint("rename it, or read it by `logmill look - < FILE`")
    })
}
