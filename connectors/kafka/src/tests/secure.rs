//! TLS and SASL on a real broker.

use contract::ErrorKind;
use contract::source::Until;
use testkit::services;

use super::broker::{Broker, source};

/// Reads a topic through a listener with these properties.
async fn read(address: &str, topic: &str, client: &str) -> contract::Result<usize> {
    let settings =
        format!("{{ brokers: \"{address}\", topics: [{topic}], client: {{ {client} }} }}");
    let source = source(&settings);
    let split = source.splits(None).await?.splits.remove(0);
    let mut reader = source.open(&split, None, Until::End).await?;
    let mut rows = 0;
    while let Some(batch) = reader.next_batch().await? {
        rows += batch.records.num_rows();
    }
    Ok(rows)
}

#[tokio::test]
async fn passwords_over_tls_are_understood() {
    let (Some(broker), Some(secure)) = (Broker::find(), services::find("kafka_sasl_ssl")) else {
        return;
    };
    let topic = broker.topic(1, &[]).await;
    broker.produce_texts(&topic, &["a", "b"]);
    let tls = services::setting("tls");
    let client = |mechanism: &str, password: &str| {
        format!(
            "security.protocol: SASL_SSL, sasl.mechanism: {mechanism}, sasl.username: alice, \
             sasl.password: {password}, ssl.ca.location: {tls}/ca.crt"
        )
    };
    for mechanism in ["PLAIN", "SCRAM-SHA-512"] {
        let rows = read(&secure, &topic, &client(mechanism, "alice-secret")).await;
        assert_eq!(rows.unwrap(), 2, "{mechanism}");
    }
    let error = read(&secure, &topic, &client("PLAIN", "wrong")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::External);
    assert!(error.chain().contains("uthentication"), "{}", error.chain());
}

#[tokio::test]
async fn a_client_certificate_opens_the_door() {
    let (Some(broker), Some(secure)) = (Broker::find(), services::find("kafka_ssl")) else {
        return;
    };
    let topic = broker.topic(1, &[]).await;
    broker.produce_texts(&topic, &["a"]);
    let tls = services::setting("tls");
    let client = format!(
        "security.protocol: SSL, ssl.ca.location: {tls}/ca.crt, \
         ssl.certificate.location: {tls}/client.crt, ssl.key.location: {tls}/client.key"
    );
    assert_eq!(read(&secure, &topic, &client).await.unwrap(), 1);
}
