//! `http.probe` against a server that answers as it was told.

use runbook_steps::failure::Class;
use runbook_steps::{Failure, Outputs};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::workshop::{Workshop, refusal, step};

/// Gives the answers one after the other, each over a connection of its own, then what was asked.
pub(crate) async fn answers(all: &[&str]) -> (String, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let all: Vec<String> = all.iter().map(|it| (*it).to_owned()).collect();
    let asked = tokio::spawn(async move {
        let mut asked = Vec::new();
        for answer in all {
            let (mut socket, _) = listener.accept().await.unwrap();
            asked.push(request(&mut socket).await);
            socket.write_all(answer.as_bytes()).await.unwrap();
        }
        asked
    });
    (address, asked)
}

pub(crate) async fn request(socket: &mut TcpStream) -> String {
    let (mut text, mut chunk) = (String::new(), [0; 4096]);
    loop {
        let read = socket.read(&mut chunk).await.unwrap();
        text.push_str(&String::from_utf8_lossy(&chunk[..read]));
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
        if text.contains("\r\n\r\n") && body.len() >= length {
            return text;
        }
    }
}

pub(crate) fn answer(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n{headers}\r\n{body}", body.len())
}

pub(crate) async fn probe(workshop: &Workshop, with: serde_json::Value) -> Result<Outputs, Failure> {
    step("http.probe", &with.to_string()).perform(&workshop.context()).await
}

pub(crate) fn fast() -> Workshop {
    let mut workshop = Workshop::new();
    workshop.clock = runbook_steps::Clock::scaled(0, 1000.0);
    workshop
}

#[tokio::test]
async fn an_answer_becomes_outputs() {
    let (url, _) = answers(&[&answer("200 OK", "X-Kind: good\r\n", r#"{"id": 7}"#)]).await;
    let outputs = probe(&fast(), json!({ "url": url })).await.unwrap();
    assert_eq!(outputs["status"], 200);
    assert_eq!(outputs["json"], json!({ "id": 7 }));
    assert_eq!(outputs["headers"]["x-kind"], "good");
    assert_eq!(outputs["response"]["http_version"], "HTTP/1.1");
    assert_eq!(outputs["response"]["body"], r#"{"id": 7}"#);
}

#[tokio::test]
async fn a_secret_goes_out_and_does_not_come_back() {
    let (url, asked) = answers(&[&answer("200 OK", "", "you said hunter22")]).await;
    let workshop = fast().secret("t", "hunter22");
    let with =
        json!({ "url": url, "headers": { "authorization": "Bearer «secret:t»" }, "json": { "key": "«secret:t»" } });
    let outputs = probe(&workshop, with).await.unwrap();
    let asked = asked.await.unwrap();
    assert!(asked[0].starts_with("POST / HTTP/1.1\r\n"), "{asked:?}");
    assert!(asked[0].contains("authorization: Bearer hunter22") && asked[0].ends_with(r#"{"key":"hunter22"}"#));
    assert_eq!(outputs["body"], "you said [redacted]");
    assert!(refusal("http.probe", "{url: 'http://x/«secret:t»'}").starts_with("url: a secret cannot stand"));
}

#[tokio::test]
async fn it_asks_again_until_the_answer_is_as_wanted() {
    let unhealthy = answer("503 Service Unavailable", "", "no healthy upstream");
    let (url, asked) =
        answers(&[&unhealthy, &answer("404 Not Found", "", "fault filter abort"), &answer("200 OK", "", "")]).await;
    let outputs = probe(&fast(), json!({ "url": url, "until": "response.status == 200" })).await.unwrap();
    assert_eq!(outputs["status"], 200);
    assert_eq!(asked.await.unwrap().len(), 3);
}

#[tokio::test]
async fn an_answer_that_cannot_get_better_ends_it() {
    let body = r#"{"error": {"message": "The model `x` does not exist.", "type": "NotFoundError"}}"#;
    let (url, _) = answers(&[&answer("404 Not Found", "", body)]).await;
    let failure =
        probe(&fast(), json!({ "url": url, "until": "response.status == 200" })).await.expect_err("no such model");
    assert_eq!(failure.class, Class::Invalid);
    assert_eq!(failure.facts.http_status, Some(404));
    assert!(failure.facts.http_body.contains("does not exist"));
}

#[tokio::test]
async fn failures_have_their_classes() {
    for (status, headers, class) in [
        ("401 Unauthorized", "", Class::AuthExpired),
        ("404 Not Found", "", Class::Invalid),
        ("429 Too Many Requests", "Retry-After: 7\r\n", Class::Throttled),
        ("503 Service Unavailable", "", Class::Transient),
    ] {
        let (url, _) = answers(&[&answer(status, headers, "why")]).await;
        let failure = probe(&fast(), json!({ "url": url })).await.expect_err("not 2xx");
        assert_eq!(failure.class, class, "{status}");
        assert_eq!(failure.retry_after.map(|it| it.as_secs()), (class == Class::Throttled).then_some(7));
    }
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let failure = probe(&fast(), json!({ "url": format!("http://{free}") })).await.expect_err("nobody there");
    assert_eq!(failure.class, Class::Transient);
}

#[tokio::test]
async fn an_expected_status_is_good_and_another_is_not() {
    let refused = answer("404 Not Found", "", "");
    let (url, _) = answers(&[&refused]).await;
    assert_eq!(probe(&fast(), json!({ "url": url, "expect": { "status": [404] } })).await.unwrap()["status"], 404);
    let (url, _) = answers(&[&answer("200 OK", "", "")]).await;
    probe(&fast(), json!({ "url": url, "expect": { "status": 404 } })).await.expect_err("it was 200");
}
