use super::*;

fn request(runner: Value, parameters: Value) -> Result<HttpRequest, HttpError> {
    http_request(
        "core.http",
        "1.2",
        runner.as_object().expect("an object"),
        parameters.as_object().expect("an object"),
    )
}

#[track_caller]
fn refused(runner: Value, parameters: Value, text: &str) {
    let error = request(runner, parameters)
        .expect_err("refused")
        .to_string();
    assert!(error.contains(text), "{error}");
}

fn header<'a>(request: &'a HttpRequest, name: &str) -> Option<&'a str> {
    request.headers.get(name).map(Sensitive::expose)
}

#[test]
fn a_plain_request_is_a_get_that_says_who_sends_it() {
    let request = request(
        json!({"url": "http://one.example/a?x=1", "headers": {"user-agent": "mine", "X-N": 5}, "cookies": {"a": "b", "c": "d"}}),
        json!({"params": {"q": "a b", "l": [1, true], "n": null}}),
    )
    .expect("a request");
    assert_eq!(request.method, "GET");
    assert_eq!(
        request.url.as_str(),
        "http://one.example/a?x=1&l=1&l=True&q=a+b"
    );
    assert_eq!(header(&request, "User-Agent"), Some("st2/v1.2"));
    assert_eq!(header(&request, "user-agent"), None);
    assert_eq!(header(&request, "X-Stanley-Action"), Some("core.http"));
    assert_eq!(header(&request, "X-N"), Some("5"));
    assert_eq!(header(&request, "Cookie"), Some("a=b; c=d"));
    assert_eq!((request.body, request.timeout), (Body::Empty, 60_000));
    assert!(request.verify_certificate && !request.follow_redirects);
}

#[test]
fn a_request_with_a_body_is_a_post() {
    let request = request(
        json!({"url": "http://one.example/"}),
        json!({"body": "plain", "timeout": 1.5}),
    )
    .expect("a request");
    assert_eq!(request.method, "POST");
    assert_eq!(request.body, Body::Text("plain".to_owned()));
    assert_eq!(header(&request, "Content-Type"), None);
    assert_eq!(request.timeout, 1500);
}

#[test]
fn objects_are_sent_as_json_and_json_is_checked() {
    let url = "http://one.example/";
    let of_object = request(
        json!({"url": url}),
        json!({"body": {"a": 1}, "method": "PUT"}),
    )
    .expect("a request");
    assert_eq!(of_object.body, Body::Text("{\"a\":1}".to_owned()));
    assert_eq!(header(&of_object, "Content-Type"), Some("application/json"));
    assert_eq!(of_object.method, "PUT");
    let json_headers =
        json!({"url": url, "headers": {"content-type": "application/json; charset=utf-8"}});
    let of_text =
        request(json_headers.clone(), json!({"body": "{ \"a\": 1 }"})).expect("a request");
    assert_eq!(of_text.body, Body::Text("{\"a\":1}".to_owned()));
    refused(
        json_headers,
        json!({"body": "{a"}),
        "Request body ({a) can't be parsed as JSON",
    );
}

#[test]
fn credentials_are_sent_and_not_printed() {
    let request = request(
        json!({"url": "https://one.example/", "username": "ada", "password": "hunter2"}),
        json!({"auth": "x-auth-token=t0ken"}),
    )
    .expect("a request");
    let (user, password) = request.basic.clone().expect("basic authentication");
    assert_eq!((user.as_str(), password.expose()), ("ada", "hunter2"));
    assert_eq!(header(&request, "x-auth-token"), Some("t0ken"));
    let printed = format!("{request:?}");
    assert!(
        !printed.contains("hunter2") && !printed.contains("t0ken"),
        "{printed}"
    );
}

#[test]
fn a_file_is_sent_as_a_form() {
    let file =
        json!({"file_name": "a.txt", "file_content": "hello", "file_content_type": "text/plain"});
    let request = request(json!({"url": "http://one.example/"}), file.clone()).expect("a request");
    assert_eq!(request.method, "POST");
    assert_eq!(
        request.body,
        Body::File {
            name: "a.txt".to_owned(),
            content: "hello".to_owned(),
            content_type: Some("text/plain".to_owned())
        }
    );
    let mut both = file;
    both["body"] = json!("text");
    refused(json!({"url": "http://one.example/"}), both, "not both");
}

#[test]
fn hosts_can_be_forbidden_or_the_only_ones() {
    let list = json!(["Bad.example", "[::1]"]);
    let deny = |url: &str| request(json!({"url": url, "url_hosts_blacklist": list}), json!({}));
    assert!(deny("http://good.example:80/").is_ok());
    for url in [
        "http://bad.example/",
        "http://BAD.example:8080/",
        "http://user@bad.example/",
        "http://[::1]:99/",
        "http:\\\\bad.example\\",
    ] {
        assert!(matches!(deny(url), Err(HttpError::Blacklisted(_))), "{url}");
    }
    let only = request(
        json!({"url": "http://good.example/", "url_hosts_whitelist": ["good.example"]}),
        json!({}),
    )
    .expect("a request");
    let redirect = Url::parse("http://bad.example/").expect("a URL");
    assert_eq!(
        only.allows(&redirect),
        Err(HttpError::NotWhitelisted("http://bad.example/".to_owned()))
    );
    refused(
        json!({"url": "http://a.example/", "url_hosts_whitelist": ["a"], "url_hosts_blacklist": ["b"]}),
        json!({}),
        "mutually exclusive",
    );
}

#[test]
fn nonsense_is_refused() {
    refused(json!({}), json!({}), "the URL \"\" cannot be requested");
    refused(
        json!({"url": "file:///etc/passwd"}),
        json!({}),
        "not http or https",
    );
    refused(
        json!({"url": "http://a.example/", "headers": {"A": "b\r\nC: d"}}),
        json!({}),
        "\"A\" is not a header",
    );
    refused(
        json!({"url": "http://a.example/"}),
        json!({"timeout": 0}),
        "timeout",
    );
    refused(
        json!({"url": "http://a.example/"}),
        json!({"auth": "secret"}),
        "x-auth-token=XYZ",
    );
    refused(
        json!({"url": "http://a.example/"}),
        json!({"method": "GET /"}),
        "method",
    );
    refused(
        json!({"url": "http://a.example/", "allow_redirects": "yes"}),
        json!({}),
        "allow_redirects",
    );
}

fn response(status: u16, content_type: &str, body: &str) -> Conclusion {
    HttpOutcome::Response {
        status,
        headers: BTreeMap::from([("Content-Type".to_owned(), content_type.to_owned())]),
        body: body.to_owned(),
    }
    .conclusion()
}

#[test]
fn a_json_body_is_parsed() {
    let conclusion = response(200, "application/json; charset=utf-8", "{\"a\": 1}");
    assert_eq!(conclusion.status, Status::Succeeded);
    assert_eq!(
        conclusion.result,
        json!({"status_code": 200, "parsed": true, "body": {"a": 1},
               "headers": {"Content-Type": "application/json; charset=utf-8"}})
    );
    for (content_type, body) in [("text/plain", "{\"a\": 1}"), ("application/json", "{a")] {
        let conclusion = response(200, content_type, body);
        assert_eq!(conclusion.result["parsed"], false);
        assert_eq!(conclusion.result["body"], body);
    }
}

#[test]
fn the_status_of_the_response_decides() {
    for (status, expected) in [
        (204, Status::Succeeded),
        (302, Status::Failed),
        (404, Status::Failed),
        (500, Status::Failed),
    ] {
        assert_eq!(
            response(status, "text/plain", "").status,
            expected,
            "{status}"
        );
    }
    let late = HttpOutcome::TimedOut {
        error: "no answer within 60 seconds".to_owned(),
    };
    assert_eq!(late.conclusion().status, Status::Timeout);
    let failed = HttpOutcome::Failed {
        error: "connection refused".to_owned(),
    };
    let conclusion = failed.conclusion();
    assert_eq!(conclusion.status, Status::Failed);
    assert_eq!(conclusion.result, json!({"error": "connection refused"}));
}
