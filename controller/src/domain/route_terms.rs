//! On which terms a route leads to an app: what its instances are spoken to in.

/// What instances are spoken to in, unless their destination says otherwise.
pub const HTTP1: &str = "http1";
pub const HTTP2: &str = "http2";

/// Refuses what instances cannot be spoken to in.
pub fn check_protocol(protocol: &str) -> Result<(), String> {
    match protocol {
        HTTP1 | HTTP2 => Ok(()),
        other => Err(format!(
            "the protocol {other:?} is not supported; supported: {HTTP1}, {HTTP2}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_protocol_is_one_that_routers_speak() {
        assert_eq!(check_protocol("http1"), Ok(()));
        assert_eq!(check_protocol("http2"), Ok(()));
        for other in ["tcp", "HTTP2", "", "h2c"] {
            let fault = check_protocol(other).unwrap_err();
            assert!(fault.contains("http1, http2"), "{fault}");
        }
    }
}
