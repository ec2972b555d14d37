//! What `http.probe` makes of answers: assertions, captures, several requests, retries, redirects, versions and streams.

use runbook_steps::failure::Class;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;

use crate::probe::{answer, answers, fast, probe, request};
use crate::workshop::refusal;

#[tokio::test]
async fn an_assertion_that_does_not_hold_says_what_it_saw() {
    let (url, _) = answers(&[&answer("200 OK", "", r#"{"data": []}"#)]).await;
    let with = json!({ "url": url, "assert": ["response.status == 200", "response.json.data | length > 0"] });
    let failure = probe(&fast(), with).await.expect_err("no data");
    assert_eq!(failure.class, Class::Permanent);
    assert!(failure.what.ends_with("does not hold: response.json.data is []"), "{}", failure.what);
    assert_eq!(failure.facts.http_status, Some(200));
}

#[tokio::test]
async fn later_requests_use_what_earlier_ones_captured() {
    let models = answer("200 OK", "", r#"{"data": [{"id": "/mnt/models"}]}"#);
    let (url, asked) = answers(&[&models, &answer("200 OK", "", r#"{"choices": [{"text": "four"}]}"#)]).await;
    let with = json!({
        "headers": { "x-shared": "yes" },
        "requests": [
            { "name": "models", "url": format!("{url}/v1/models"), "capture": { "model": "response.json.data[0].id" } },
            { "name": "sum", "url": format!("{url}/v1/completions"), "json": { "model": "{{ model }}", "prompt": "2+2" },
              "headers": { "x-own": "{{ model }}" }, "assert": ["response.json.choices | length == 1"] },
        ]
    });
    let outputs = probe(&fast(), with).await.unwrap();
    let asked = asked.await.unwrap();
    assert!(asked[0].starts_with("GET /v1/models HTTP/1.1\r\n") && asked[0].contains("x-shared: yes"), "{}", asked[0]);
    assert!(asked[1].contains("x-own: /mnt/models") && asked[1].contains("x-shared: yes"), "{}", asked[1]);
    assert!(asked[1].ends_with(r#"{"model":"/mnt/models","prompt":"2+2"}"#), "{}", asked[1]);
    assert_eq!(outputs["model"], "/mnt/models");
    assert_eq!(outputs["json"]["choices"][0]["text"], "four");
    assert_eq!(outputs["responses"]["models"]["json"]["data"][0]["id"], "/mnt/models");
}

#[tokio::test]
async fn what_is_not_in_the_answer_cannot_be_captured() {
    let (url, _) = answers(&[&answer("200 OK", "", "{}")]).await;
    let failure =
        probe(&fast(), json!({ "url": url, "capture": { "id": "response.json.id" } })).await.expect_err("none");
    assert_eq!(failure.what, "cannot capture `id`: `response.json.id` has no value");
}

#[tokio::test]
async fn an_answer_cannot_ask_for_a_secret() {
    let (url, _) = answers(&[&answer("200 OK", "", r#"{"id": "«secret:t»"}"#)]).await;
    let workshop = fast().secret("t", "hunter22");
    let failure =
        probe(&workshop, json!({ "url": url, "capture": { "id": "response.json.id" } })).await.expect_err("forged");
    assert!(failure.what.contains("taken for a secret"), "{}", failure.what);
}

#[tokio::test]
async fn retries_are_counted_by_what_went_wrong() {
    let busy = answer("503 Service Unavailable", "", "");
    let often = answer("429 Too Many Requests", "Retry-After: 3\r\n", "");
    let (url, asked) = answers(&[&busy, &often, "", &answer("200 OK", "", "")]).await;
    let retries = json!({ "connection": 1, "server_error": 1, "throttled": 1, "pause": "1s" });
    probe(&fast(), json!({ "url": url, "retries": retries })).await.unwrap();
    assert_eq!(asked.await.unwrap().len(), 4);
    let (url, asked) = answers(&[&busy, &busy]).await;
    let failure = probe(&fast(), json!({ "url": url, "retries": { "server_error": 1 } })).await.expect_err("twice");
    assert_eq!((failure.class, asked.await.unwrap().len()), (Class::Transient, 2));
}

#[tokio::test]
async fn redirects_are_followed_or_not() {
    let there = "HTTP/1.1 302 Found\r\nlocation: /there\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    let (url, asked) = answers(&[there, &answer("200 OK", "", "here")]).await;
    let outputs = probe(&fast(), json!({ "url": format!("{url}/from"), "body": "x" })).await.unwrap();
    assert_eq!((&outputs["body"], &outputs["response"]["url"]), (&json!("here"), &json!(format!("{url}/there"))));
    assert!(asked.await.unwrap()[1].starts_with("GET /there HTTP/1.1\r\n"));
    let (url, _) = answers(&[there]).await;
    let with = json!({ "url": url, "redirects": 0, "expect": { "status": 302 } });
    assert_eq!(probe(&fast(), with).await.unwrap()["headers"]["location"], "/there");
}

#[tokio::test]
async fn secrets_do_not_follow_to_another_host() {
    let (there, asked) = answers(&[&answer("200 OK", "", "here")]).await;
    let moved = answer("307 Temporary Redirect", &format!("location: {there}/there\r\n"), "");
    let (url, _) = answers(&[&moved, &moved]).await;
    let workshop = fast().secret("t", "hunter22");
    let with = json!({ "url": url, "headers": { "x-api-key": "«secret:t»", "x-kind": "plain" }, "body": "x" });
    assert_eq!(probe(&workshop, with).await.unwrap()["body"], "here");
    let with = json!({ "url": url, "json": { "key": "«secret:t»" } });
    let failure = probe(&workshop, with).await.expect_err("a secret for somebody else");
    assert_eq!(failure.class, Class::Permanent);
    assert!(failure.what.contains("its body holds a secret"), "{}", failure.what);
    let asked = asked.await.unwrap();
    assert!(asked[0].contains("x-kind: plain") && !asked[0].contains("x-api-key"), "{asked:?}");
}

#[tokio::test]
async fn an_old_version_is_asked_with_and_refused_with_its_cause() {
    let (url, asked) =
        answers(&["HTTP/1.1 426 Upgrade Required\r\ncontent-length: 16\r\nconnection: close\r\n\r\nUpgrade Required"])
            .await;
    let failure = probe(&fast(), json!({ "url": url, "http_version": "1.0" })).await.expect_err("426");
    assert!(asked.await.unwrap()[0].starts_with("GET / HTTP/1.0\r\n"));
    assert_eq!(failure.class, Class::Invalid);
    assert!(failure.cause.is_some_and(|cause| cause.contains("version of HTTP")));
    assert_eq!(failure.facts.http_status, Some(426));
}

#[tokio::test]
async fn an_answer_in_another_version_is_not_expected() {
    let (url, _) = answers(&["HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n"]).await;
    let failure = probe(&fast(), json!({ "url": url, "expect": { "http_version": "1.1" } })).await.expect_err("1.0");
    assert!(failure.what.ends_with("the answer is HTTP/1.0, not HTTP/1.1"), "{}", failure.what);
}

#[tokio::test]
async fn what_is_no_http_is_told_apart_from_silence() {
    let (url, _) = answers(&["SSH-2.0-OpenSSH_9.2\r\n"]).await;
    let failure = probe(&fast(), json!({ "url": url })).await.expect_err("not HTTP");
    assert_eq!(failure.class, Class::Permanent);
    assert!(failure.what.contains("does not speak HTTP/1"), "{}", failure.what);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = format!("http://{}", listener.local_addr().unwrap());
    let failure = probe(&fast(), json!({ "url": silent, "timeout": "1s" })).await.expect_err("silence");
    assert_eq!(failure.class, Class::Transient);
    assert!(failure.what.contains("no answer in time"), "{}", failure.what);
}

#[tokio::test]
async fn a_form_and_a_body_without_end_are_sent_and_read() {
    let (url, asked) = answers(&["HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nuntil the end"]).await;
    let outputs = probe(&fast(), json!({ "url": url, "form": { "a": "x y", "b": 2 } })).await.unwrap();
    assert_eq!(outputs["body"], "until the end");
    assert!(asked.await.unwrap()[0].ends_with("\r\n\r\na=x+y&b=2"));
}

#[tokio::test]
async fn events_are_read_as_they_come() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        request(&mut socket).await;
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
        socket.write_all(head.as_bytes()).await.unwrap();
        for event in [
            r#"{"choices":[{"delta":{"role":"assistant","content":""}}]}"#,
            r#"{"choices":[{"delta":{"content":"Hello"}}]}"#,
            r#"{"choices":[{"delta":{"content":" you"}}]}"#,
            "[DONE]",
        ] {
            socket.write_all(format!("data: {event}\n\n").as_bytes()).await.unwrap();
        }
    });
    let with = json!({ "url": url, "json": { "stream": true }, "assert": ["response.stream.done", "response.stream.tokens == 2"] });
    let outputs = probe(&fast(), with).await.unwrap();
    let stream = &outputs["response"]["stream"];
    assert_eq!((&stream["text"], &stream["events"]), (&json!("Hello you"), &json!(4)));
    assert!(stream["first_token_ms"].as_f64().unwrap() > 0.0);
}

#[tokio::test]
async fn a_stream_that_breaks_off_is_a_failure() {
    let event = "data: {\"choices\":[{\"text\":\"a\"}]}\n\n";
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
    let (url, _) = answers(&[&format!("{head}{event}")]).await;
    let failure = probe(&fast(), json!({ "url": url })).await.expect_err("cut");
    assert_eq!(failure.class, Class::Transient);
    assert!(failure.what.ends_with("the stream ended without `[DONE]`"), "{}", failure.what);
}

#[test]
fn mistakes_are_found_where_they_are() {
    for (with, expected) in [
        ("{url: 'http://a', until: '1 +'}", "until: `1 +` is no expression"),
        ("{url: 'http://a', assert: ['(']}", "assert[0]: `(` is no expression"),
        (
            "{url: 'http://a', until: 'statuss == 200', assert: ['response.stats == 200']}",
            "until: `statuss == 200`: there is no `statuss`, only `response`; did you mean `response.status`?; \
             and `assert[0]`: `response.stats == 200`: `response` has no `stats`; did you mean `status`? (it has ",
        ),
        ("{url: 'http://a', capture: {a: 'respons.json'}}", "capture.a: `respons.json`: there is no `respons`"),
        (
            "{requests: [{url: 'http://a', capture: {model: response.json}}, {url: 'http://a/{{ modle }}'}]}",
            "requests[1]: `http://a/{{ modle }}` cannot be filled in: there is no `modle`; did you mean `model`?",
        ),
        (
            "{requests: [{url: 'http://a', until: x}, {url: 'http://a', until: y}]}",
            "requests[0].until: `x`: there is no `x`, only `response`; and `requests[1].until`: `y`: there is no `y`",
        ),
        ("{url: 'http://a', capture: {status: 'response.status'}}", "capture: `status` is an output of every probe"),
        ("{url: 'http://a', json: {}, body: x}", ": give at most one of"),
        ("{url: 'ftp://a'}", "url: `ftp://a` is no address that can be asked"),
        ("{url: 'http://a', insecure: true, ca_bundle: x.pem}", "insecure: with `insecure`"),
        ("{url: 'http://a', port_forward: {port: 80}}", "port_forward: give `service` or `pod`"),
        ("{requests: [{url: 'http://a'}, {url: 'http://a', methd: GET}]}", "requests[1]"),
        ("{requests: [{url: 'http://{{ x/'}]}", "requests[0]: `http://{{ x/` cannot be filled in"),
        ("{requests: []}", "requests: expected a list"),
        ("{url: 'http://a', headers: {'a b': c}}", "headers: `a b` cannot be the name of a header"),
    ] {
        let found = refusal("http.probe", with);
        assert!(found.starts_with(expected), "{with}: {found}");
    }
}
