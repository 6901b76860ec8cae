//! Files of secrets: `${secret:postgres.password}` in a pipeline file reads from them.
//!
//! YAML or JSON with mode 600. Those that the pipeline names are searched in their order, behind
//! `LOGMILL_SECRETS` and before `secrets.json` in the data folder. They are read when a secret is
//! asked for, and nothing of them is ever printed.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use contract::error::Context;
use contract::{Error, Result, Section};

use crate::arguments::environment;

/// The permission bits that others than the owner must not have.
const OTHERS: u32 = 0o077;
/// The largest file of secrets.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The secrets of one pipeline.
#[derive(Debug)]
pub struct Secrets {
    files: Vec<PathBuf>,
    /// Which file gave which secret.
    seen: RefCell<BTreeMap<String, PathBuf>>,
}

impl Secrets {
    /// The files in which the secrets of a pipeline are searched.
    pub fn of(named: &[Option<String>], data: &Path) -> Self {
        let first = environment("LOGMILL_SECRETS").map(PathBuf::from);
        let named = named.iter().flatten().filter(|file| !file.is_empty()).map(PathBuf::from);
        let files = first.into_iter().chain(named).chain([data.join("secrets.json")]).collect();
        Self { files, seen: RefCell::default() }
    }

    /// The secret at a path such as `postgres.password`: from the first file that has it.
    ///
    /// # Errors
    /// Config: there is no such file or secret, or others may read a file.
    pub fn find(&self, path: &str) -> Result<String> {
        let mut read_any = false;
        for file in &self.files {
            let Some(content) = read(file)? else { continue };
            read_any = true;
            let found = path.split('.').try_fold(&content, |level, name| level.get(name));
            if let Some(secret) = found.and_then(Section::as_text) {
                self.seen.borrow_mut().insert(path.to_owned(), file.clone());
                return Ok(secret.to_owned());
            }
        }
        let files: Vec<_> = self.files.iter().map(|file| file.display().to_string()).collect();
        let files = files.join(", ");
        Err(match read_any {
            true => Error::config(format!("there is no secret {path:?}"))
                .hint(format!("add it as text to one of: {files}")),
            false => Error::config(format!(
                "could not read a secrets file: there is none of {files}"
            ))
            .hint(
                "`secrets: [FILE]` in the pipeline file, or `LOGMILL_SECRETS`, names one; it \
                     is YAML or JSON, its mode is 600",
            ),
        })
    }

    /// The secrets that were found, and where.
    pub fn seen(&self) -> Vec<(String, PathBuf)> {
        self.seen.borrow().iter().map(|(path, file)| (path.clone(), file.clone())).collect()
    }
}

/// A file of secrets; none if it does not exist.
fn read(file: &Path) -> Result<Option<Section>> {
    let name = file.display().to_string();
    let unreadable = || format!("could not read the secrets file {name:?}");
    let opened = match File::open(file) {
        Ok(opened) => opened,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(Error::config(unreadable())
                .because(error)
                .hint("it belongs to the user that runs logmill, with mode 600"));
        }
    };
    let mode = opened.metadata().external(unreadable)?.permissions().mode();
    if mode & OTHERS != 0 {
        return Err(Error::config(format!("others may read the secrets file {name:?}"))
            .hint(format!("chmod 600 {name}")));
    }
    let mut text = String::new();
    // The causes would quote what stands in the file.
    let read = opened.take(FILE_BYTES_MAX).read_to_string(&mut text);
    let wrong = || Error::config(format!("the secrets file {name:?} is neither YAML nor JSON"));
    read.map_err(|_| wrong())?;
    plan::parse_texts(&text, &name).map(Some).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: &str = "{\"pg\": {\n\t\"password\": \"hush\", \"port\": 5432}}";
    const YAML: &str = "pg:\n  password: 0123\n  user: me\n";

    fn found(files: &[(u32, &str)], path: &str) -> String {
        let folder = tempfile::tempdir().expect("a folder");
        let mut named = vec![Some(folder.path().join("none").display().to_string()), None];
        for (number, (mode, text)) in files.iter().enumerate() {
            let file = folder.path().join(number.to_string());
            std::fs::write(&file, text).expect("written");
            std::fs::set_permissions(&file, PermissionsExt::from_mode(*mode)).expect("set");
            named.push(Some(file.display().to_string()));
        }
        match Secrets::of(&named, &folder.path().join("data")).find(path) {
            Ok(secret) => secret,
            Err(error) => {
                let hint = error.hint_text().unwrap_or_default();
                format!("{error}; {hint}").replace(&folder.path().display().to_string(), "FOLDER")
            }
        }
    }

    #[test]
    fn the_first_private_file_that_has_a_secret_gives_it() {
        assert_eq!(found(&[(0o600, JSON), (0o600, YAML)], "pg.password"), "hush");
        assert_eq!(found(&[(0o600, YAML), (0o600, JSON)], "pg.password"), "0123");
        assert_eq!(found(&[(0o600, YAML), (0o600, JSON)], "pg.port"), "5432");
        assert_eq!(
            found(&[(0o644, JSON)], "pg.password"),
            "others may read the secrets file \"FOLDER/0\"; chmod 600 FOLDER/0"
        );
        assert!(found(&[(0o600, JSON)], "pg.user").starts_with("there is no secret \"pg.user\"; "));
        assert!(found(&[], "pg.user").starts_with("could not read a secrets file: there is none"));
        let broken = found(&[(0o600, "hush: [hush")], "hush");
        assert_eq!(broken, "the secrets file \"FOLDER/0\" is neither YAML nor JSON; ");
    }
}
