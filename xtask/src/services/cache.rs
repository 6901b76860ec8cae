//! What was installed once, kept outside the checkout.
//!
//! An installation is made under another name and renamed when it is whole, so one that was cut
//! short is made again. Its name holds a hash of its recipe: a changed recipe is another one.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

/// The folder of all installations.
#[derive(Clone)]
pub struct Cache {
    folder: PathBuf,
}

impl Cache {
    /// The cache in the user's home.
    pub fn open() -> Result<Self, String> {
        let home =
            std::env::var_os("HOME").ok_or("HOME is not set, so there is no cache folder")?;
        let folder = Path::new(&home).join(".cache/logmill-services");
        fs::create_dir_all(&folder).map_err(|error| cannot("create", &folder, &error))?;
        Ok(Self { folder })
    }

    /// The folder of an installation, made by `fill` unless it is there. Only one program fills.
    pub fn installed(
        &self,
        name: &str,
        recipe: &[&str],
        fill: impl FnOnce(&Path) -> Result<(), String>,
    ) -> Result<PathBuf, String> {
        let mut hasher = DefaultHasher::new();
        recipe.hash(&mut hasher);
        let name = format!("{name}-{:016x}", hasher.finish());
        let whole = self.folder.join(&name);
        if whole.is_dir() {
            return Ok(whole);
        }
        let lock = self.folder.join(format!("{name}.lock"));
        let lock = File::create(&lock).map_err(|error| cannot("create", &lock, &error))?;
        lock.lock().map_err(|error| format!("could not lock {name}: {error}"))?;
        if whole.is_dir() {
            return Ok(whole);
        }
        let partial = self.folder.join(format!("{name}.partial"));
        if partial.exists() {
            fs::remove_dir_all(&partial).map_err(|error| cannot("remove", &partial, &error))?;
        }
        fs::create_dir(&partial).map_err(|error| cannot("create", &partial, &error))?;
        eprintln!("xtask: installing {name}");
        fill(&partial)?;
        fs::rename(&partial, &whole).map_err(|error| cannot("rename", &partial, &error))?;
        Ok(whole)
    }
}

/// Writes a text, with each `{name}` replaced.
pub fn write(path: &Path, text: &str, values: &[(&str, &str)]) -> Result<(), String> {
    let text = values
        .iter()
        .fold(text.to_owned(), |text, (name, value)| text.replace(&format!("{{{name}}}"), value));
    fs::write(path, text).map_err(|error| cannot("write", path, &error))
}

fn cannot(verb: &str, path: &Path, error: &std::io::Error) -> String {
    format!("could not {verb} {}: {error}", path.display())
}

#[cfg(test)]
mod tests {
    use super::Cache;

    #[test]
    fn an_installation_that_was_cut_short_is_made_again_and_then_kept() {
        let name = format!("cache-{}", std::process::id());
        let cache = Cache { folder: std::env::temp_dir().join(name) };
        std::fs::create_dir_all(&cache.folder).expect("a folder");
        let half = cache.installed("server", &["1"], |folder| {
            std::fs::write(folder.join("half"), "").map_err(|error| error.to_string())?;
            Err("no network".into())
        });
        assert_eq!(half, Err("no network".into()));
        let whole = cache.installed("server", &["1"], |folder| {
            assert!(!folder.join("half").exists(), "it begins with an empty folder");
            Ok(())
        });
        let again = cache.installed("server", &["1"], |_| Err("is there already".into()));
        assert!(whole.is_ok() && whole == again);
        let other = cache.installed("server", &["2"], |_| Ok(()));
        assert_ne!(other, again, "another recipe is another installation");
        std::fs::remove_dir_all(&cache.folder).expect("the folder");
    }
}
