//! `logmill look`: the first minute with a log. Recognises it, mills it into a lake of its own, and
//! shows what is in it.
//!
//! Reading order: [`files`] (what is named), [`place`] (the lake of these files), [`samples`] and
//! [`recognise`] (how lines are written), [`others`] (what else is in the lake), [`mill`] (the
//! pipeline and its run), [`ask`] (the questions), [`show`] (the answers as text), [`open`] (the
//! browser).

mod ask;
mod files;
mod mill;
mod open;
mod others;
mod place;
mod recognise;
mod samples;
mod show;

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use contract::error::Context;
use contract::{Error, ErrorKind, Result};
use runtime::{Summary, Trouble, TroubleState};
use serde_json::{Value, json};

use crate::arguments::Global;
use crate::failure::{self, Exit};
use crate::output::{self, remark};
use crate::signals;
use ask::Scope;
use files::{Input, LeftOut};
use mill::{Looked, Milled};
use others::Others;
use place::{Address, Place};

/// What the hints of sources name for those who write pipeline files.
const EXCLUDE: &str = " (setting `exclude`)";
/// The name of a page that goes to standard output.
const STDOUT: &str = "-";

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
  logmill look app.log --as '^(?<level>\\w+) (?<text>.*)$'

What was milled stays in the data folder under `look`, so that a second look reads only what is new.
Without a browser, or where the output goes to a file or a pipe, the answer is text; `--follow`,
`--no-open` and `--port` serve the dashboard there too, and print its address.";

/// Look at a log: the dashboard, a page or text, within seconds and without any file of settings.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Look {
    /// Log files, plain or compressed; patterns; or `-` for standard input.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<String>,

    /// How the lines are written, instead of what is recognised: a name that `logmill connectors
    /// parse` lists, the server's own log format, or a regular expression that names its groups.
    #[arg(long = "as", value_name = "FORMAT")]
    written: Option<String>,

    /// Go on as the files grow, until Ctrl-C.
    #[arg(long, conflicts_with_all = ["report", "text"])]
    follow: bool,

    /// Write one page that holds everything and needs no server, and end; `-` writes it to stdout.
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
    look_at(look, global).await.map_err(own_words)
}

async fn look_at(look: &Look, global: &Global) -> Result<Exit> {
    look.scope.check()?;
    let shown = look.shown(global);
    if let Shown::Page(page) = &shown {
        refuse_page(page)?;
    }
    let mut input = files::find(&look.files)?;
    let is_there = samples::look_ahead(&mut input).await?;
    if !is_there || (look.follow && !samples::wait(&input, global).await?) {
        return Ok(signals::exit());
    }
    let left_out = left_out(global, &input);
    let place = Place::of(&input, look.written.as_deref(), &global.data)?;
    let (decided, odd) = match place.decided() {
        Some(decided) => {
            let odd = recognise::compare(&input, &decided, look.written.as_deref())?;
            (decided, odd)
        }
        None => {
            let (decided, odd) = recognise::decide(&input, look.written.as_deref())?;
            remark(global, &format!("{}: {}", input.name(), decided.told));
            (decided, odd)
        }
    };
    odd.iter().for_each(|line| remark(global, line));
    let other = match place.is_busy().await? {
        true => Some(Address::of(place.folder()).read()),
        false => None,
    };
    if let (Shown::Served(_), Some(address)) = (&shown, &other) {
        return Err(shown_already(address.as_deref()));
    }
    let file = mill::write(&place, &input, &decided)?;
    place.keep(&input, &decided)?;
    let global = Global { data: place.folder().to_owned(), ..global.clone() };
    let others = Others::find(&file, &input, &global.data).await?;
    let looked = mill::Looked { file, decided, global, others };
    let exit = show_all(look, shown, (&looked, &input), other.as_ref()).await;
    let exit = exit.map_err(|error| match error.kind() {
        // It began after this one had looked for it.
        ErrorKind::NotOwner => shown_already(Address::of(place.folder()).read().as_deref()),
        _ => error,
    })?;
    Ok(match (exit, left_out) {
        (Exit::Done, Some(exit)) => exit,
        (exit, _) => exit,
    })
}

/// Mills what there is, and shows it where it is to go.
async fn show_all(
    look: &Look,
    shown: Shown,
    (looked, input): (&Looked, &Input),
    other: Option<&Option<String>>,
) -> Result<Exit> {
    Ok(match shown {
        Shown::Served(browser) => mill::served(looked, look, input, &browser).await?,
        Shown::Page(page) => {
            let (milled, unread) = mill(looked, other).await?;
            write_page(looked, look, &page, input, &milled).await?;
            unread.unwrap_or_else(|| ended(&milled))
        }
        Shown::Text => {
            let (milled, unread) = mill(looked, other).await?;
            let answers = ask::text(&looked.answers()?, &look.scope).await?;
            let whole = json!({ "log": input.name(), "milled": &milled, "answers": &answers });
            output::value(&looked.global, &whole, |out| {
                show::summary(out, &milled)?;
                show::panels(out, &answers, show::width())
            })?;
            unread.unwrap_or_else(|| ended(&milled))
        }
    })
}

/// Refuses a page that cannot be written, before anything is read.
fn refuse_page(page: &Path) -> Result<()> {
    let shown = page.display().to_string();
    if page.is_dir() {
        return Err(Error::config(format!("{shown:?} is a folder"))
            .hint("name the page: --report out.html, or `-` for standard output"));
    }
    match page.parent().filter(|folder| !folder.as_os_str().is_empty() && !folder.is_dir()) {
        Some(folder) => {
            let folder = folder.display().to_string();
            Err(Error::config(format!("could not write {shown:?}: there is no folder {folder:?}"))
                .hint("make the folder, or name another one"))
        }
        None => Ok(()),
    }
}

/// Mills what there is, unless another look does so; says how to end where something could not be
/// read.
async fn mill(looked: &Looked, other: Option<&Option<String>>) -> Result<(Milled, Option<Exit>)> {
    let Some(address) = other else {
        let (milled, summary) = mill::to_the_end(looked).await?;
        return Ok((milled, unread(&looked.global, &summary)));
    };
    let place = address.as_ref().map(|address| format!(" at {address}")).unwrap_or_default();
    let line = format!("another look reads these files{place}; what it has so far is shown");
    remark(&looked.global, &line);
    Ok((mill::as_it_is(looked).await?, None))
}

/// How the command ends where the run was not interrupted.
fn ended(milled: &Milled) -> Exit {
    match signals::exit() {
        Exit::Done if milled.rows == 0 && milled.refused > 0 => Exit::Refused,
        exit => exit,
    }
}

/// The error of a second dashboard of the same files.
fn shown_already(address: Option<&str>) -> Error {
    match address {
        Some(address) => Error::new(
            ErrorKind::NotOwner,
            format!("another look shows these files already, at {address}"),
        )
        .hint(
            "open that address; `--text` and `--report FILE` show what it has so far, and `--data \
             DIR` reads them into a data folder of its own",
        ),
        None => Error::new(ErrorKind::NotOwner, "another look reads these files just now").hint(
            "look again once it has ended; `--text` shows what it has so far, and `--data DIR` \
             reads them into a data folder of its own",
        ),
    }
}

/// Names what is left out of several arguments; says how to end where one of them is missing.
fn left_out(global: &Global, input: &Input) -> Option<Exit> {
    let Input::Files { left_out, .. } = input else { return None };
    let mut exit = None;
    for one in left_out {
        match one {
            LeftOut::PassedOver(what) => remark(global, &format!("passed over: {what}")),
            LeftOut::Missing(what) => {
                exit = Some(failure::report(&Error::external(what.as_str()), global));
            }
        }
    }
    exit
}

/// Names what a run could not read, each once; says how to end where records may be missing.
fn unread(global: &Global, summary: &Summary) -> Option<Exit> {
    let mut exit = None;
    for Trouble { split, state, error, hint, .. } in &summary.unread {
        match state {
            TroubleState::PassedOver => remark(global, &format!("passed over {split}: {error}")),
            TroubleState::Waiting => remark(global, &format!("{split}: {error}")),
            TroubleState::Failed | TroubleState::Broken => {}
        }
        if !state.is_failure() {
            continue;
        }
        let error = Error::external(error.as_str());
        let error = match hint {
            Some(hint) => error.hint(hint.as_str()),
            None => error,
        };
        exit = Some(failure::report(&own_words(error), global));
    }
    exit
}

/// An error without what only those know who write pipeline files: places in one, and settings.
fn own_words(error: Error) -> Error {
    let hint = error.hint_text().map(|hint| hint.replace(EXCLUDE, ""));
    if error.place().is_none() && error.field_name().is_none() {
        return match hint {
            Some(hint) => error.hint(hint),
            None => error,
        };
    }
    let own = Error::new(error.kind(), error.chain());
    match hint {
        Some(hint) => own.hint(hint),
        None => own,
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
    if page == Path::new(STDOUT) {
        let mut summary = Vec::new();
        show::summary(&mut summary, milled).bug("memory refuses text")?;
        remark(&looked.global, String::from_utf8_lossy(&summary).trim_end());
        return output::write(|out| out.write_all(text.as_bytes()));
    }
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

/// A path as text, which pipeline files are made of.
fn text(path: &Path) -> Result<String> {
    path.to_str().map(str::to_owned).ok_or_else(|| {
        Error::config(format!("the name of {:?} is no UTF-8", path.display().to_string()))
            .hint("rename it, or read it by `logmill look - < FILE`")
    })
}
