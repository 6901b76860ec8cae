//! Servers written in Java, from Maven's repository, whose checksums `mvn` verifies.

use std::path::Path;
use std::process::Command;

use super::{guard, tools};

const COPY: &str = "org.apache.maven.plugins:maven-dependency-plugin:2.8:copy-dependencies";
const LOG_SETTINGS: &str = include_str!("texts/log4j2.properties");

/// A library of Maven's repository.
pub struct Library {
    pub group: &'static str,
    pub name: &'static str,
    pub version: &'static str,
    /// Whether what it depends on comes too.
    pub alone: bool,
}

impl Library {
    fn to_xml(&self) -> String {
        let exclusions = match self.alone {
            true => {
                "<exclusions><exclusion><groupId>*</groupId><artifactId>*</artifactId>\
                 </exclusion></exclusions>"
            }
            false => "",
        };
        format!(
            "<dependency><groupId>{}</groupId><artifactId>{}</artifactId>\
             <version>{}</version>{exclusions}</dependency>",
            self.group, self.name, self.version
        )
    }
}

/// Puts libraries, and what they depend on, into `lib` of a folder.
pub fn fetch(folder: &Path, libraries: &[Library]) -> Result<(), String> {
    tools::need("java", "openjdk-17-jdk-headless")?;
    tools::need("mvn", "maven")?;
    let dependencies: String = libraries.iter().map(Library::to_xml).collect();
    let pom = format!(
        "<project><modelVersion>4.0.0</modelVersion><groupId>tests</groupId>\
         <artifactId>tests</artifactId><version>1</version><packaging>pom</packaging>\
         <dependencies>{dependencies}</dependencies></project>\n"
    );
    let file = folder.join("pom.xml");
    std::fs::write(&file, pom).map_err(|error| format!("could not write the pom: {error}"))?;
    let mut maven = Command::new("mvn");
    maven.args(["--batch-mode", "--quiet", "--strict-checksums", "--file"]).arg(&file).args([
        COPY,
        "-DincludeScope=runtime",
        &format!("-DoutputDirectory={}", folder.join("lib").display()),
    ]);
    guard::run(&maven, &folder.join("log"))?;
    let settings = folder.join("log4j2.properties");
    std::fs::write(settings, LOG_SETTINGS).map_err(|error| format!("no log settings: {error}"))
}

/// Compiles one class against `lib` of a folder, into `classes` of another.
pub fn compile(folder: &Path, classes: &Path, class: &str, text: &str) -> Result<(), String> {
    tools::need("javac", "openjdk-17-jdk-headless")?;
    let file = folder.join(format!("{class}.java"));
    std::fs::write(&file, text).map_err(|error| format!("could not write {class}: {error}"))?;
    let mut javac = Command::new("javac");
    javac.args(["-nowarn", "-cp"]).arg(folder.join("lib/*")).arg("-d").arg(classes).arg(&file);
    guard::run(&javac, &folder.join("log"))
}

/// A Java machine of modest size over an installation's libraries and classes.
pub fn machine(installed: &Path) -> Command {
    let mut java = Command::new("java");
    // A serial collector and the quick compiler alone halve the time to the first answer.
    java.args(["-Xmx512m", "-Xms64m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]);
    let settings = installed.join("log4j2.properties");
    java.arg(format!("-Dlog4j2.configurationFile={}", settings.display()));
    java.arg("-cp").arg(format!("{0}/classes:{0}/lib/*", installed.display()));
    java
}
