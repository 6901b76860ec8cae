//! The secrets file: `${secret:postgres.password}` in a pipeline file reads from it.
//!
//! JSON, mode 600, at `LOGMILL_SECRETS` or else `secrets.json` in the data folder. It is read when
//! a secret is asked for, and nothing of it is ever printed.

use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use contract::error::Context;
use contract::{Error, Result};
use serde_json::Value;

/// The permission bits that others than the owner must not have.
const OTHERS: u32 = 0o077;

/// Where the secrets of pipelines that run with this data folder lie.
pub fn file(data: &Path) -> PathBuf {
    std::env::var_os("LOGMILL_SECRETS").map_or_else(|| data.join("secrets.json"), PathBuf::from)
}

/// The secret at a path such as `postgres.password`.
///
/// # Errors
/// Config: there is no such file or secret, or others may read the file.
pub fn find(file: &Path, path: &str) -> Result<String> {
    let content = read(file)?;
    let found = path.split('.').try_fold(&content, |level, name| level.get(name));
    match found {
        Some(Value::String(secret)) => Ok(secret.clone()),
        Some(Value::Number(secret)) => Ok(secret.to_string()),
        _ => Err(Error::config(format!("there is no secret {path:?}"))
            .hint(format!("add it to {:?} as text", file.display().to_string()))),
    }
}

fn read(file: &Path) -> Result<Value> {
    let name = file.display().to_string();
    let unreadable = || format!("could not read the secrets file {name:?}");
    let opened = File::open(file).map_err(|error| {
        Error::config(unreadable())
            .because(error)
            .hint("`LOGMILL_SECRETS` names another file; it is JSON, its mode is 600")
    })?;
    let mode = opened.metadata().external(unreadable)?.permissions().mode();
    if mode & OTHERS != 0 {
        return Err(Error::config(format!("others may read the secrets file {name:?}"))
            .hint(format!("chmod 600 {name}")));
    }
    // The cause would quote what stands in the file.
    serde_json::from_reader(opened)
        .map_err(|_| Error::config(format!("the secrets file {name:?} is no JSON")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(mode: u32, path: &str) -> String {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("secrets.json");
        std::fs::write(&file, r#"{"pg": {"password": "hush", "port": 5432}}"#).expect("written");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).expect("set");
        match find(&file, path) {
            Ok(secret) => secret,
            Err(error) => error.to_string().replace(&file.display().to_string(), "FILE"),
        }
    }

    #[test]
    fn secrets_are_found_by_path_in_a_private_file_only() {
        assert_eq!(found(0o600, "pg.password"), "hush");
        assert_eq!(found(0o600, "pg.port"), "5432");
        assert_eq!(found(0o600, "pg.user"), "there is no secret \"pg.user\"");
        assert_eq!(found(0o644, "pg.password"), "others may read the secrets file \"FILE\"");
    }
}
