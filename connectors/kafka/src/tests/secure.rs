//! TLS and SASL on a real broker.

use contract::ErrorKind;
use contract::discovery::list;
use contract::source::Until;
use testkit::services;

use super::broker::{Broker, source};

/// Reads a topic through a listener with these properties.
async fn read(address: &str, topic: &str, client: &str) -> contract::Result<usize> {
    let settings =
        format!("{{ brokers: \"{address}\", topics: [{topic}], client: {{ {client} }} }}");
    let source = source(&settings);
    let split = list(source.as_ref(), None).await?.splits.remove(0);
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

#[tokio::test]
async fn a_port_that_speaks_tls_or_does_not_is_told_each_time() {
    let ports = (services::find("kafka"), services::find("kafka_ssl"));
    let (Some(plain), Some(secure)) = ports else { return };
    let sasl = services::find("kafka_sasl_ssl").expect("it is there with the others");
    let login = "sasl.mechanism: PLAIN, sasl.username: alice, sasl.password: x";
    for (address, client, said, set) in [
        (&plain, "security.protocol: SSL".to_owned(), "speaks no TLS", ": PLAINTEXT`"),
        (
            &plain,
            format!("security.protocol: SASL_SSL, {login}"),
            "speaks no TLS",
            ": SASL_PLAINTEXT`",
        ),
        (&secure, "linger.ms: 5".to_owned(), "speaks TLS", ": SSL`"),
        (&sasl, format!("security.protocol: SASL_PLAINTEXT, {login}"), "speaks TLS", ": SASL_SSL`"),
    ] {
        let error = read(address, "any", &client).await.expect_err("they do not understand");
        let chain = error.chain();
        assert!(!error.retry(), "it will not learn: {chain}");
        assert!(chain.contains(said) && chain.contains(address.as_str()), "{chain}");
        assert!(error.hint_text().is_some_and(|hint| hint.contains(set)), "{error:?}");
    }
}
