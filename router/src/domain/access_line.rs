//! One line per request, in gorouter's format (contract §3, "Access log line"), so that existing
//! parsers keep working. What is missing is `"-"`; quotes and control characters in what a client
//! sent are escaped: a line is a line.

use std::fmt::Write;
use std::time::Duration;

/// What is known when a request is over.
#[derive(Debug, Clone, Default)]
pub struct Access {
    pub host: String,
    /// RFC 3339 with nanoseconds, of the request's arrival.
    pub started: String,
    pub method: String,
    pub target: String,
    pub protocol: &'static str,
    /// 0 if the client went away before there was one.
    pub status: u16,
    pub request_bytes: u64,
    pub response_bytes: u64,
    pub referer: Option<String>,
    pub user_agent: Option<String>,
    pub remote: String,
    pub backend: Option<String>,
    pub forwarded_for: Option<String>,
    pub forwarded_proto: Option<String>,
    pub request_id: String,
    /// From arrival until the last byte of the answer.
    pub response_time: Duration,
    /// The part of it that was not spent waiting for the instance.
    pub router_time: Duration,
    pub app: Option<String>,
    pub index: Option<String>,
    pub instance: Option<String>,
    pub router_error: Option<String>,
    pub failed_attempts: u32,
    /// More headers of the request, named as in the log.
    pub extra: Vec<(String, Option<String>)>,
    /// It is written as JSON.
    pub json: bool,
}

impl Access {
    pub fn line(&self) -> String {
        let mut line = String::with_capacity(512);
        let out = &mut line;
        plain(out, &self.host);
        out.push_str(" - [");
        plain(out, &self.started);
        out.push_str("] \"");
        escaped(out, &self.method);
        out.push(' ');
        escaped(out, &self.target);
        // Writing to a String cannot fail.
        let _ = write!(
            out,
            " {}\" {} {} {} ",
            self.protocol, self.status, self.request_bytes, self.response_bytes
        );
        quoted(out, self.referer.as_deref());
        out.push(' ');
        quoted(out, self.user_agent.as_deref());
        out.push(' ');
        quoted(out, Some(&self.remote));
        out.push(' ');
        quoted(out, self.backend.as_deref());
        field(out, "x_forwarded_for", self.forwarded_for.as_deref());
        field(out, "x_forwarded_proto", self.forwarded_proto.as_deref());
        field(out, "vcap_request_id", Some(&self.request_id));
        let _ = write!(
            out,
            " response_time:{:.6} gorouter_time:{:.6}",
            self.response_time.as_secs_f64(),
            self.router_time.as_secs_f64()
        );
        field(out, "app_id", self.app.as_deref());
        field(out, "app_index", self.index.as_deref());
        field(out, "instance_id", self.instance.as_deref());
        if self.failed_attempts > 0 {
            let _ = write!(out, " failed_attempts:{}", self.failed_attempts);
        }
        field(out, "x_cf_routererror", self.router_error.as_deref());
        for (name, value) in &self.extra {
            field(out, name, value.as_deref());
        }
        out.push('\n');
        line
    }

    /// The same as an object in one line. What is missing is null.
    pub fn json_line(&self) -> String {
        let mut line = serde_json::json!({
            "host": self.host,
            "time": self.started,
            "method": self.method,
            "uri": self.target,
            "protocol": self.protocol,
            "status": self.status,
            "request_bytes": self.request_bytes,
            "response_bytes": self.response_bytes,
            "referer": self.referer,
            "user_agent": self.user_agent,
            "remote_address": Some(&self.remote).filter(|text| !text.is_empty()),
            "backend_address": self.backend,
            "x_forwarded_for": self.forwarded_for,
            "x_forwarded_proto": self.forwarded_proto,
            "vcap_request_id": self.request_id,
            "response_time": self.response_time.as_secs_f64(),
            "gorouter_time": self.router_time.as_secs_f64(),
            "app_id": self.app,
            "app_index": self.index,
            "instance_id": self.instance,
            "failed_attempts": self.failed_attempts,
            "x_cf_routererror": self.router_error,
        });
        if let Some(fields) = line.as_object_mut() {
            for (name, value) in &self.extra {
                fields
                    .entry(name.clone())
                    .or_insert_with(|| value.clone().into());
            }
        }
        format!("{line}\n")
    }

    /// As it is to be written.
    pub fn written(&self) -> String {
        match self.json {
            true => self.json_line(),
            false => self.line(),
        }
    }
}

fn field(out: &mut String, name: &str, value: Option<&str>) {
    out.push(' ');
    out.push_str(name);
    out.push(':');
    quoted(out, value);
}

fn quoted(out: &mut String, value: Option<&str>) {
    out.push('"');
    match value {
        Some(value) if !value.is_empty() => escaped(out, value),
        _ => out.push('-'),
    }
    out.push('"');
}

fn plain(out: &mut String, value: &str) {
    if value.is_empty() {
        out.push('-')
    } else {
        escaped(out, value)
    }
}

fn escaped(out: &mut String, value: &str) {
    for c in value.chars() {
        match c {
            '"' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
}

/// `2006-01-02T15:04:05.999999999Z` of nanoseconds since 1970.
pub fn rfc3339(unix_nanos: u128) -> String {
    let seconds = (unix_nanos / 1_000_000_000) as i64;
    let nanos = (unix_nanos % 1_000_000_000) as u32;
    let days = seconds.div_euclid(86_400);
    let of_day = seconds.rem_euclid(86_400);
    // Days to a date in the proleptic Gregorian calendar, counting years from March.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{nanos:09}Z",
        of_day / 3600,
        of_day / 60 % 60,
        of_day % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_gorouters_shape() {
        let access = Access {
            host: "a.example.com".into(),
            started: rfc3339(1_700_000_000_123_456_789),
            method: "GET".into(),
            target: "/x?y=\"z".into(),
            protocol: "HTTP/1.1",
            status: 200,
            request_bytes: 0,
            response_bytes: 5,
            user_agent: Some("evil\r\nagent".into()),
            remote: "127.0.0.1:5".into(),
            backend: Some("10.0.0.1:80".into()),
            forwarded_for: Some("127.0.0.1".into()),
            forwarded_proto: Some("http".into()),
            request_id: "id-1".into(),
            response_time: Duration::from_micros(1500),
            router_time: Duration::from_micros(100),
            app: Some("app-1".into()),
            index: Some("0".into()),
            instance: None,
            ..Access::default()
        };
        assert_eq!(
            access.line(),
            "a.example.com - [2023-11-14T22:13:20.123456789Z] \"GET /x?y=\\\"z HTTP/1.1\" 200 0 5 \"-\" \
             \"evil\\u000d\\u000aagent\" \"127.0.0.1:5\" \"10.0.0.1:80\" x_forwarded_for:\"127.0.0.1\" \
             x_forwarded_proto:\"http\" vcap_request_id:\"id-1\" response_time:0.001500 gorouter_time:0.000100 \
             app_id:\"app-1\" app_index:\"0\" instance_id:\"-\" x_cf_routererror:\"-\"\n"
        );
    }

    #[test]
    fn a_line_of_json_says_the_same() {
        let access = Access {
            host: "a.example.com".into(),
            method: "GET".into(),
            target: "/x\"\n".into(),
            status: 200,
            app: Some("app-1".into()),
            extra: vec![
                ("x_user".into(), Some("dora".into())),
                ("status".into(), Some("forged".into())),
            ],
            json: true,
            ..Access::default()
        };
        let line = access.written();
        assert_eq!(line.matches('\n').count(), 1);
        let read: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(read["uri"], "/x\"\n");
        assert_eq!(read["status"], 200);
        assert_eq!(read["x_user"], "dora");
        assert_eq!(read["remote_address"], serde_json::Value::Null);
        let plain = Access {
            json: false,
            ..access
        };
        assert!(
            plain
                .written()
                .ends_with("x_user:\"dora\" status:\"forged\"\n")
        );
    }

    #[test]
    fn dates_are_right() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(
            rfc3339(951_782_400_000_000_000),
            "2000-02-29T00:00:00.000000000Z"
        );
        assert_eq!(
            rfc3339(4_102_444_799_000_000_001),
            "2099-12-31T23:59:59.000000001Z"
        );
    }
}
