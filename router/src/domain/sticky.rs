//! Sticky sessions (contract §3 row 8): when an app sets its session cookie, the router adds a
//! cookie of its own that names the instance; a request that carries both goes there again, while
//! the instance serves the route. The router keeps no state.
//!
//! When that instance is gone another one serves the session, and the router's cookie changes to name it. The app
//! says nothing of its cookie then, so what the router's has to have of it (Secure, SameSite and so on) is kept in a
//! second cookie, beside the first.
//!
//! Clients that log in by `Authorization: Negotiate` (Kerberos, NTLM) do so over several requests and may have no
//! cookie yet: where it is wanted, their requests stay with an instance for a minute without one.

/// The router's cookie.
pub const AFFINITY_COOKIE: &str = "__VCAP_ID__";
/// What the router's cookie has besides its value, joined by `&`.
pub const META_COOKIE: &str = "__VCAP_ID_META__";
/// Longest time a login takes.
const NEGOTIATION_SECONDS: u32 = 60;

/// What is sticky.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StickyRules {
    /// The app's session cookies.
    pub cookies: Vec<String>,
    pub negotiate: bool,
}

/// What a request says about where it wants to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wish<'a> {
    /// The instance that had its session.
    pub instance: Option<&'a str>,
    meta: Option<&'a str>,
    negotiates: bool,
}

/// A [`Wish`] that outlives its request's headers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptWish {
    instance: Option<Box<str>>,
    meta: Option<Box<str>>,
    negotiates: bool,
}

impl Wish<'_> {
    /// `None` if nothing was wished: that costs nothing.
    pub fn kept(&self) -> Option<KeptWish> {
        let wished = self.instance.is_some() || self.negotiates;
        wished.then(|| KeptWish {
            instance: self.instance.map(Box::from),
            meta: self.meta.map(Box::from),
            negotiates: self.negotiates,
        })
    }
}

impl KeptWish {
    pub fn as_wish(&self) -> Wish<'_> {
        Wish {
            instance: self.instance.as_deref(),
            meta: self.meta.as_deref(),
            negotiates: self.negotiates,
        }
    }
}

impl StickyRules {
    /// The instance a request's headers ask for.
    pub fn wish<'a>(
        &self,
        cookie_headers: impl Iterator<Item = &'a str>,
        authorization: Option<&str>,
    ) -> Wish<'a> {
        let negotiates = self.negotiate
            && authorization.is_some_and(|value| {
                value
                    .get(..10)
                    .is_some_and(|scheme| scheme.eq_ignore_ascii_case("negotiate "))
            });
        let mut wish = Wish {
            negotiates,
            ..Wish::default()
        };
        let mut session = negotiates;
        for pair in cookie_headers.flat_map(|header| header.split(';')) {
            let Some((name, value)) = pair.trim().split_once('=') else {
                continue;
            };
            session |= self.is_session(name);
            match name {
                AFFINITY_COOKIE if !value.is_empty() => wish.instance = Some(value),
                META_COOKIE => wish.meta = Some(value),
                _ => {}
            }
        }
        if !session {
            wish.instance = None;
        }
        wish
    }

    fn is_session(&self, name: &str) -> bool {
        self.cookies.iter().any(|cookie| cookie == name)
    }

    /// The cookies to add to the answer of `instance`: if one of the answer's cookies starts or ends a session, or if
    /// the wish was for an instance that is gone. Their scope and lifetime follow the session's cookie.
    pub fn cookies<'a>(
        &self,
        set_cookie_headers: impl Iterator<Item = &'a str>,
        wish: Wish<'_>,
        instance: &str,
        route_path: &str,
    ) -> Vec<String> {
        let valid = |b: u8| b.is_ascii_alphanumeric() || b"-_.:".contains(&b);
        if instance.is_empty() || !instance.bytes().all(valid) {
            return Vec::new();
        }
        let path = if route_path.is_empty() {
            "/"
        } else {
            route_path
        };
        let session = set_cookie_headers
            .filter(|header| {
                header
                    .split_once('=')
                    .is_some_and(|(name, _)| self.is_session(name.trim()))
            })
            .last();
        let attributes: Vec<String> = match session {
            Some(session) => session
                .split(';')
                .skip(1)
                .map(str::trim)
                .filter(|attribute| is_copied(attribute))
                .map(str::to_string)
                .collect(),
            None if wish.negotiates => vec![format!("Max-Age={NEGOTIATION_SECONDS}")],
            None if wish.instance.is_some_and(|wanted| wanted != instance) => wish
                .meta
                .unwrap_or_default()
                .split('&')
                .filter(|attribute| is_kept(attribute))
                .map(str::to_string)
                .collect(),
            None => return Vec::new(),
        };
        let cookie = |name: &str, value: &str| {
            let mut cookie = format!("{name}={value}; Path={path}; HttpOnly");
            for attribute in &attributes {
                cookie.push_str("; ");
                cookie.push_str(attribute);
            }
            cookie
        };
        let mut cookies = vec![cookie(AFFINITY_COOKIE, instance)];
        let kept: Vec<&str> = attributes
            .iter()
            .map(String::as_str)
            .filter(|attribute| is_kept(attribute))
            .collect();
        if !kept.is_empty() {
            cookies.push(cookie(META_COOKIE, &kept.join("&")));
        }
        cookies
    }
}

fn parts(attribute: &str) -> (String, Option<&str>) {
    match attribute.split_once('=') {
        Some((name, value)) => (name.trim().to_ascii_lowercase(), Some(value.trim())),
        None => (attribute.to_ascii_lowercase(), None),
    }
}

/// What the router's cookie takes from the session's.
fn is_copied(attribute: &str) -> bool {
    let (name, value) = parts(attribute);
    match name.as_str() {
        "secure" | "partitioned" | "samesite" | "expires" => true,
        // A positive age would make our cookie outlive sessions that the app renews.
        "max-age" => value.is_some_and(|value| value.starts_with('-') || value == "0"),
        _ => false,
    }
}

/// What can be said again without the session's cookie. It comes back from the client: nothing else may stand in a
/// header of ours because of it.
fn is_kept(attribute: &str) -> bool {
    let (name, value) = parts(attribute);
    match (name.as_str(), value) {
        ("secure" | "partitioned", None) => true,
        ("samesite", Some(value)) => ["lax", "strict", "none"]
            .iter()
            .any(|known| value.eq_ignore_ascii_case(known)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(negotiate: bool) -> StickyRules {
        StickyRules {
            cookies: vec!["JSESSIONID".into(), "session".into()],
            negotiate,
        }
    }

    #[test]
    fn both_cookies_make_a_wish() {
        let cases: &[(&[&str], Option<&str>)] = &[
            (&["JSESSIONID=a; __VCAP_ID__=i1"], Some("i1")),
            (&["session=a", "x=y; __VCAP_ID__=i1"], Some("i1")),
            (&["__VCAP_ID__=i1"], None),
            (&["JSESSIONID=a"], None),
            (&["JSESSIONID=a; __VCAP_ID__="], None),
            (&[""], None),
        ];
        for (headers, wanted) in cases {
            let wish = rules(false).wish(headers.iter().copied(), None);
            assert_eq!(wish.instance, *wanted, "{headers:?}");
        }
    }

    #[test]
    fn the_cookie_follows_the_sessions() {
        let check = |headers: &[&str], path: &str| {
            let headers = headers.iter().copied();
            rules(false).cookies(headers, Wish::default(), "i-1", path)
        };
        assert_eq!(check(&["a=b"], ""), [""; 0]);
        assert_eq!(
            check(&["JSESSIONID=x"], ""),
            ["__VCAP_ID__=i-1; Path=/; HttpOnly"]
        );
        assert_eq!(
            check(
                &["JSESSIONID=x; Path=/y; Secure; SameSite=Lax; Max-Age=100; Max-Age=-1"],
                "/app"
            ),
            [
                "__VCAP_ID__=i-1; Path=/app; HttpOnly; Secure; SameSite=Lax; Max-Age=-1",
                "__VCAP_ID_META__=Secure&SameSite=Lax; Path=/app; HttpOnly; Secure; SameSite=Lax; Max-Age=-1"
            ]
        );
        let odd = rules(false).cookies(["JSESSIONID=x"].into_iter(), Wish::default(), "a; b", "");
        assert_eq!(odd, [""; 0]);
    }

    #[test]
    fn a_session_whose_instance_is_gone_gets_another_with_the_same_attributes() {
        let cookies =
            ["session=a; __VCAP_ID__=gone; __VCAP_ID_META__=Secure&SameSite=None&Path=/x&evil"];
        let rules = rules(false);
        let wish = rules.wish(cookies.into_iter(), None);
        assert_eq!(
            rules.cookies([].into_iter(), wish, "i-2", ""),
            [
                "__VCAP_ID__=i-2; Path=/; HttpOnly; Secure; SameSite=None",
                "__VCAP_ID_META__=Secure&SameSite=None; Path=/; HttpOnly; Secure; SameSite=None"
            ]
        );
        assert_eq!(rules.cookies([].into_iter(), wish, "gone", ""), [""; 0]);
    }

    #[test]
    fn a_login_stays_with_its_instance_for_a_minute() {
        let begin = rules(true).wish([].into_iter(), Some("Negotiate YII="));
        assert_eq!(begin.instance, None);
        assert_eq!(
            rules(true).cookies([].into_iter(), begin, "i-1", ""),
            ["__VCAP_ID__=i-1; Path=/; HttpOnly; Max-Age=60"]
        );
        let cookie = ["__VCAP_ID__=i-1"];
        let goes_on = rules(true).wish(cookie.into_iter(), Some("negotiate YII="));
        assert_eq!(goes_on.instance, Some("i-1"));
        for (rules, authorization) in [(rules(false), "Negotiate x"), (rules(true), "Basic x")] {
            let wish = rules.wish(cookie.into_iter(), Some(authorization));
            assert_eq!(wish.instance, None);
            assert_eq!(rules.cookies([].into_iter(), wish, "i-1", ""), [""; 0]);
        }
    }
}
