//! Sticky sessions (contract §3 row 8): when an app sets its session cookie, the router adds a
//! cookie of its own that names the instance; a request that carries both goes there again, while
//! the instance serves the route. The router keeps no state.

/// The app's session cookies.
const SESSION_COOKIES: [&str; 1] = ["JSESSIONID"];
/// The router's cookie.
pub const AFFINITY_COOKIE: &str = "__VCAP_ID__";

/// The instance a request's cookies ask for.
pub fn wanted_instance<'a>(cookie_headers: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let mut session = false;
    let mut instance = None;
    for pair in cookie_headers.flat_map(|header| header.split(';')) {
        let Some((name, value)) = pair.trim().split_once('=') else {
            continue;
        };
        session |= SESSION_COOKIES.contains(&name);
        if name == AFFINITY_COOKIE && !value.is_empty() {
            instance = Some(value);
        }
    }
    instance.filter(|_| session)
}

/// The cookie to add, if one of the response's cookies starts or ends a session. Its scope and
/// lifetime follow the session's cookie.
pub fn affinity_cookie<'a>(
    set_cookie_headers: impl Iterator<Item = &'a str>,
    instance: &str,
    route_path: &str,
) -> Option<String> {
    let valid = |b: u8| b.is_ascii_alphanumeric() || b"-_.:".contains(&b);
    if instance.is_empty() || !instance.bytes().all(valid) {
        return None;
    }
    let session = set_cookie_headers
        .filter(|header| {
            header
                .split_once('=')
                .is_some_and(|(name, _)| SESSION_COOKIES.contains(&name.trim()))
        })
        .last()?;
    let path = if route_path.is_empty() {
        "/"
    } else {
        route_path
    };
    let mut cookie = format!("{AFFINITY_COOKIE}={instance}; Path={path}; HttpOnly");
    for attribute in session.split(';').skip(1).map(str::trim) {
        let (name, value) = attribute
            .split_once('=')
            .map_or((attribute, None), |(name, value)| (name, Some(value)));
        let copied = match name.to_ascii_lowercase().as_str() {
            "secure" | "partitioned" | "samesite" | "expires" => true,
            // A positive age would make our cookie outlive sessions that the app renews.
            "max-age" => value
                .is_some_and(|value| value.trim_start().starts_with('-') || value.trim() == "0"),
            _ => false,
        };
        if copied {
            cookie.push_str("; ");
            cookie.push_str(attribute);
        }
    }
    Some(cookie)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_cookies_make_a_wish() {
        let cases: &[(&[&str], Option<&str>)] = &[
            (&["JSESSIONID=a; __VCAP_ID__=i1"], Some("i1")),
            (&["JSESSIONID=a", "x=y; __VCAP_ID__=i1"], Some("i1")),
            (&["__VCAP_ID__=i1"], None),
            (&["JSESSIONID=a"], None),
            (&["JSESSIONID=a; __VCAP_ID__="], None),
            (&[""], None),
        ];
        for (headers, wanted) in cases {
            assert_eq!(
                wanted_instance(headers.iter().copied()),
                *wanted,
                "{headers:?}"
            );
        }
    }

    #[test]
    fn the_cookie_follows_the_sessions() {
        let check =
            |headers: &[&str], path: &str| affinity_cookie(headers.iter().copied(), "i-1", path);
        assert_eq!(check(&["a=b"], ""), None);
        assert_eq!(
            check(&["JSESSIONID=x"], ""),
            Some("__VCAP_ID__=i-1; Path=/; HttpOnly".into())
        );
        assert_eq!(
            check(
                &["JSESSIONID=x; Path=/y; Secure; SameSite=Lax; Max-Age=100; Max-Age=-1"],
                "/app"
            ),
            Some("__VCAP_ID__=i-1; Path=/app; HttpOnly; Secure; SameSite=Lax; Max-Age=-1".into())
        );
        assert_eq!(
            affinity_cookie(["JSESSIONID=x"].into_iter(), "a; b", ""),
            None
        );
    }
}
