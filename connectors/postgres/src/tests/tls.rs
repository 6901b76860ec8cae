use super::*;

/// How a connection with these parameters went: `t` or `f` for TLS or none, or the error.
async fn connect(place: &Place, parameters: &str) -> String {
    let separator = if place.url.contains('?') { '&' } else { '?' };
    let url = format!("{}{separator}{parameters}", place.url);
    let place = Place { url, table: "t".to_owned(), _guard: None };
    let config = place.config("");
    let connector = match Address::read(&config) {
        Ok(address) => Connector::new(address, &config),
        Err(error) => return error.chain(),
    };
    match connector.connect("test").await {
        Err(error) => error.chain(),
        Ok(connection) => {
            let asked = "SELECT ssl::text FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
            let rows = connection.query("a test", asked, &[]).await.unwrap();
            rows[0].get(0)
        }
    }
}

#[tokio::test]
async fn sslmode_means_what_it_means_in_libpq() {
    let Some(place) = Place::new().await else { return };
    let Some(folder) = find("tls") else { return };
    let ca = format!("sslrootcert={folder}/ca.crt");
    assert_eq!(connect(&place, "sslmode=disable").await, "false");
    assert_eq!(connect(&place, "sslmode=prefer").await, "true");
    assert_eq!(connect(&place, "sslmode=require").await, "true");
    assert_eq!(connect(&place, &format!("sslmode=verify-ca&{ca}")).await, "true");
    assert_eq!(connect(&place, &format!("sslmode=verify-full&{ca}")).await, "true");
    let own = format!("sslcert={folder}/client.crt&sslkey={folder}/client.key");
    assert_eq!(connect(&place, &format!("sslmode=verify-full&{ca}&{own}")).await, "true");
    for unknown in ["sslmode=verify-full", "sslmode=verify-ca"] {
        let said = connect(&place, unknown).await;
        assert!(said.contains("certificate") || said.contains("authority"), "{unknown}: {said}");
    }
    let stranger = format!("{folder}/client.key");
    let said = connect(&place, &format!("sslmode=verify-ca&sslrootcert={stranger}")).await;
    assert!(said.starts_with("could not use sslrootcert"), "{said}");
}

#[tokio::test]
async fn a_certificate_for_another_name_passes_verify_ca_only() {
    let Some(place) = Place::new().await else { return };
    let Some(folder) = find("tls") else { return };
    let (user, rest) = place.url.split_once('@').expect("a URL with a user");
    let (address, database) = rest.split_once('/').expect("a URL with a database");
    let (host, port) = address.split_once(':').expect("a URL with a port");
    let url = format!("{user}@elsewhere.test:{port}/{database}?hostaddr={host}");
    let place = Place { url, table: "t".to_owned(), _guard: None };
    let ca = format!("sslrootcert={folder}/ca.crt");
    assert_eq!(connect(&place, &format!("sslmode=verify-ca&{ca}")).await, "true");
    let said = connect(&place, &format!("sslmode=verify-full&{ca}")).await;
    assert!(said.contains("not valid for name \"elsewhere.test\""), "{said}");
}
