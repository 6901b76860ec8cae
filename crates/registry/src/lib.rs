//! The list of connectors.
//!
//! A new connector is one folder, one line here and one in the workspace manifest. Nothing else
//! knows a connector by its name.

use contract::spec::Connector;

/// Every connector, in the order of the documentation.
pub fn connectors() -> &'static [&'static dyn Connector] {
    &[
        &connector_file::File,
        &connector_stdio::Stdio,
        &connector_lake::Lake,
        &connector_kafka::Kafka,
        &connector_postgres::Postgres,
        &connector_object_store::Objects,
        &connector_opensearch::OpenSearch,
        &connector_memory::Memory,
    ]
}
