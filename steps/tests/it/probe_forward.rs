//! `http.probe` through a port of a pod, over the websocket that the Kubernetes API makes of it.

use runbook_steps::failure::Class;
use runbook_steps::{Failure, Outputs};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::site::Site;
use crate::workshop::step;

/// A Service `model` on port 80 and a pod `model-0` behind it, which answers on 8000 with the path that it was asked for.
async fn site() -> Site {
    let site = Site::new().await;
    let labels = json!({ "app": "model" });
    site.create(json!({
        "apiVersion": "v1", "kind": "Service", "metadata": { "name": "model", "namespace": "default" },
        "spec": { "selector": labels, "ports": [{ "port": 80, "targetPort": "http" }] },
    }));
    site.create(json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "model-0", "namespace": "default", "labels": labels },
        "spec": { "nodeName": "n", "containers": [{ "name": "main", "image": "x", "ports": [{ "name": "http", "containerPort": 8000 }] }] },
    }));
    site.kube.forward_ports_to(|pod, port, mut stream| {
        if port != 8000 {
            return Err("dial tcp4 127.0.0.1: connect: connection refused".to_owned());
        }
        let name = pod["metadata"]["name"].as_str().unwrap().to_owned();
        tokio::spawn(async move {
            let mut asked = vec![0; 4096];
            let read = stream.read(&mut asked).await.unwrap();
            let path = String::from_utf8_lossy(&asked[..read]).split(' ').nth(1).unwrap().to_owned();
            let said = format!("{name} {path} ").repeat(20_000);
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", said.len());
            stream.write_all(format!("{head}{said}").as_bytes()).await.unwrap();
        });
        Ok(())
    });
    site
}

fn ready(site: &Site) {
    site.status(
        "v1",
        "Pod",
        "model-0",
        json!({ "phase": "Running", "conditions": [{ "type": "Ready", "status": "True" }] }),
    );
}

async fn probe(site: &Site, forward: Value) -> Result<Outputs, Failure> {
    let with = json!({ "url": "http://model/v1/models", "port_forward": forward });
    step("http.probe", &with.to_string()).perform(&site.context()).await
}

#[tokio::test]
async fn a_service_is_reached_through_a_ready_pod() {
    let site = site().await;
    let forward = json!({ "service": "model", "port": 80 });
    let failure = probe(&site, forward.clone()).await.expect_err("not ready");
    assert_eq!(failure.class, Class::Transient);
    assert_eq!(failure.what, "none of the 1 pods behind service `default/model` is ready");
    ready(&site);
    let outputs = probe(&site, forward).await.unwrap();
    assert!(outputs["body"].as_str().unwrap().starts_with("model-0 /v1/models model-0 "));
    assert_eq!(outputs["response"]["body"].as_str().unwrap().len(), 64 << 10);
}

#[tokio::test]
async fn a_pod_is_reached_by_its_name_and_a_closed_port_is_told() {
    let site = site().await;
    assert_eq!(probe(&site, json!({ "pod": "model-0", "port": 8000 })).await.unwrap()["status"], 200);
    let failure = probe(&site, json!({ "pod": "model-0", "port": 9000 })).await.expect_err("nobody there");
    assert_eq!(failure.class, Class::Transient);
    assert!(
        failure.what.contains("pod `model-0` port 9000") && failure.what.contains("connection refused"),
        "{}",
        failure.what
    );
}

#[tokio::test]
async fn what_is_not_there_is_named() {
    let site = site().await;
    let failure = probe(&site, json!({ "service": "other", "port": 80 })).await.expect_err("no such service");
    assert_eq!((failure.class, failure.what.as_str()), (Class::NotFound, "there is no service `default/other`"));
    ready(&site);
    let failure = probe(&site, json!({ "service": "model", "port": 81 })).await.expect_err("no such port");
    assert_eq!(failure.class, Class::Invalid);
    assert_eq!(failure.fix.as_deref(), Some("use one of its ports: 80"));
    probe(&site, json!({ "pod": "other", "port": 80 })).await.expect_err("no such pod");
}
