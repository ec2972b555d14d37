//! `http.probe` over TLS: verified by default, with an authority of one's own, by another name, or with anybody.

use std::sync::Arc;

use runbook_steps::failure::Class;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::probe::probe;
use crate::workshop::Workshop;

/// A server for `models.internal` whose authority nobody knows; its address, and its authority's certificate.
async fn server() -> (String, String) {
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let mut authority = rcgen::CertificateParams::default();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority_certificate = authority.self_signed(&authority_key).unwrap();
    let issuer = rcgen::Issuer::new(authority, authority_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let mut wanted = rcgen::CertificateParams::new(vec!["models.internal".to_owned()]).unwrap();
    wanted.not_after = rcgen::date_time_ymd(2035, 1, 1);
    wanted.use_authority_key_identifier_extension = true;
    wanted.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    let certificate = wanted.signed_by(&key, &issuer).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key.into())
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("https://127.0.0.1:{}", listener.local_addr().unwrap().port());
    let acceptor = TlsAcceptor::from(Arc::new(config));
    tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            // Whoever does not trust this server goes away in the handshake.
            let Ok(mut socket) = acceptor.accept(socket).await else { continue };
            let mut asked = [0; 4096];
            assert!(socket.read(&mut asked).await.unwrap() > 0);
            socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok").await.unwrap();
            socket.shutdown().await.ok();
        }
    });
    (address, authority_certificate.pem())
}

fn with(url: &str, options: Value) -> Value {
    let mut with = json!({ "url": url });
    with.as_object_mut().unwrap().extend(options.as_object().unwrap().clone());
    with
}

#[tokio::test]
async fn nobody_is_trusted_who_is_not_known() {
    let (url, authority) = server().await;
    let workshop = Workshop::new();
    workshop.write("plan/ca.pem", &authority);
    for options in [json!({}), json!({ "ca_bundle": "ca.pem" }), json!({ "server_name": "models.internal" })] {
        let failure = probe(&workshop, with(&url, options.clone())).await.expect_err("not trusted");
        assert_eq!(failure.class, Class::Permanent, "{options}: {}", failure.what);
        assert!(failure.what.starts_with("cannot trust"), "{}", failure.what);
        assert!(failure.fix.is_some_and(|fix| fix.contains("ca_bundle")));
    }
}

#[tokio::test]
async fn an_authority_of_ones_own_and_the_right_name_are_trusted() {
    let (url, authority) = server().await;
    let workshop = Workshop::new();
    workshop.write("plan/ca.pem", &authority);
    let options = json!({
        "ca_bundle": "ca.pem", "server_name": "models.internal",
        "assert": ["response.tls.version == 'TLSv1.3'", "'models.internal' in response.tls.certificate.names"],
    });
    let outputs = probe(&workshop, with(&url, options)).await.unwrap();
    let certificate = &outputs["response"]["tls"]["certificate"];
    assert_eq!(certificate["not_after"], "2035-01-01T00:00:00Z");
    assert_eq!(outputs["body"], "ok");
}

#[tokio::test]
async fn anybody_is_trusted_where_the_plan_says_so() {
    let (url, _) = server().await;
    let outputs = probe(&Workshop::new(), with(&url, json!({ "insecure": true }))).await.unwrap();
    assert_eq!(outputs["status"], 200);
}
