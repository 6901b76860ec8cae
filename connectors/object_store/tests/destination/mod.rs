//! Objects of JSON lines in a bucket.

use std::path::Path;

use futures::{StreamExt, TryStreamExt};
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::{ObjectStore, ObjectStoreExt};
use testkit::program::Program;
use testkit::services::{find, s3_settings, setting, unique};
use testkit::stream::servers::Called;
use testkit::stream::{Destination, Tally};

const READS_AT_ONCE: usize = 8;

/// A bucket of its own, which the sink makes.
pub struct Objects {
    server: String,
    /// How the pipeline reaches it, as settings.
    called: String,
    bucket: String,
}

/// Names a bucket.
pub fn destination(called: Called) -> Option<Box<dyn Destination>> {
    let (server, called) = (find("s3")?, s3_settings(&called.address("s3")?));
    Some(Box::new(Objects { server, called, bucket: unique("milled") }))
}

impl Objects {

    fn store(&self) -> AmazonS3 {
        AmazonS3Builder::new()
            .with_endpoint(&self.server)
            .with_allow_http(true)
            .with_region("us-east-1")
            .with_access_key_id(setting("s3_key"))
            .with_secret_access_key(setting("s3_secret"))
            .with_bucket_name(&self.bucket)
            .build()
            .expect("a store")
    }

    async fn bodies(&self) -> object_store::Result<Vec<String>> {
        let store = self.store();
        let objects: Vec<_> = store.list(None).try_collect().await?;
        let bodies = objects.iter().map(|object| async {
            let body = store.get(&object.location).await?.bytes().await?;
            Ok(String::from_utf8_lossy(&body).into_owned())
        });
        futures::stream::iter(bodies).buffer_unordered(READS_AT_ONCE).try_collect().await
    }
}

impl Destination for Objects {
    fn settings(&self) -> String {
        let Self { called, bucket, .. } = self;
        format!("type: object_store, url: \"s3://{bucket}/rows\", create_bucket: true, {called}")
    }

    fn read(&self, _: &Program, _: &Path, tally: &mut Tally) {
        let tasks = tokio::runtime::Runtime::new().expect("a runtime");
        let bodies = tasks.block_on(self.bodies()).expect("the server answers");
        for line in bodies.iter().flat_map(|body| body.lines()) {
            tally.count_line(line);
        }
    }
}
