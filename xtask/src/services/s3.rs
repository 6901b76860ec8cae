//! S3: MinIO.

use std::path::PathBuf;
use std::process::Command;

use super::cache::Cache;
use super::go::Program;
use super::ports::{address, is_well};
use super::{Gives, Launch, Service, Site, create};

const MINIO: Program =
    Program { name: "minio", package: "github.com/minio/minio@v0.0.0-20260212201848-7aac2a2c5b7c" };
const KEY: &str = "testkey";
const SECRET: &str = "testsecret123";
/// A bucket that is there from the beginning; a folder among the data is one.
const BUCKET: &str = "shared";

/// MinIO.
pub const SERVICE: Service =
    Service { name: "s3", installer: "go", install, gives: Gives::Server(launch) };

/// The program.
fn install(cache: &Cache) -> Result<PathBuf, String> {
    MINIO.install(cache)
}

fn launch(site: &Site<'_>) -> Result<Launch, String> {
    let port = site.ports.of("s3")?;
    let cut = site.ports.of("s3_cut")?;
    let data = site.folder.join("data");
    create(&data.join(BUCKET))?;
    let mut command = Command::new(install(site.cache)?);
    command.args(["server", "--quiet", "--address", &address(port)]).arg(data);
    command.envs([("MINIO_ROOT_USER", KEY), ("MINIO_ROOT_PASSWORD", SECRET)]);
    command.envs([("MINIO_BROWSER", "off"), ("MINIO_UPDATE", "off")]);
    command.env("MINIO_REGION", "us-east-1");
    Ok(Launch {
        command,
        signal: "TERM",
        ready: Box::new(move || is_well(port, "/minio/health/ready")),
        variables: vec![
            ("S3", format!("http://{}", address(port))),
            ("S3_CUT", format!("http://{}", address(cut))),
            ("S3_KEY", KEY.into()),
            ("S3_SECRET", SECRET.into()),
            ("S3_BUCKET", BUCKET.into()),
        ],
    })
}
