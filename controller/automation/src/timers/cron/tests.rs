use super::*;
use proptest::prelude::*;
use serde::Deserialize;

#[derive(Deserialize)]
struct KnownAnswer {
    fields: BTreeMap<String, String>,
    zone: String,
    start: String,
    out: Vec<String>,
}

fn cron(fields: &[(&str, &str)], zone: &str) -> Result<Cron, FieldError> {
    let given = fields
        .iter()
        .map(|(name, text)| (*name, (*text).to_owned()))
        .collect();
    let zone = TimeZone::get(zone).expect("a time zone");
    Cron::parse(&given, zone)
}

/// The next firings after a time, in UTC.
#[track_caller]
fn firings(fields: &[(&str, &str)], zone: &str, start: &str, count: usize) -> Vec<String> {
    let cron = cron(fields, zone).unwrap_or_else(|error| panic!("{error}"));
    let start: Timestamp = start.parse().expect("a time");
    let mut after = start.as_millisecond();
    let mut all = Vec::new();
    while all.len() < count {
        let Some(next) = cron.next(after) else { break };
        assert!(next > after, "{next} is not after {after}");
        all.push(
            Timestamp::from_millisecond(next)
                .expect("a time")
                .to_string(),
        );
        after = next;
    }
    all
}

/// The answers were computed with APScheduler 3.11; `start` itself may be one.
#[test]
fn known_answers() {
    let answers: Vec<KnownAnswer> =
        serde_json::from_str(include_str!("known_answers.json")).expect("the known answers");
    assert!(answers.len() >= 150);
    for answer in answers {
        let fields: Vec<(&str, &str)> = answer
            .fields
            .iter()
            .map(|(name, text)| (name.as_str(), text.as_str()))
            .collect();
        let start: Timestamp = answer.start.parse().expect("a time");
        let before = start.as_millisecond() - 1;
        let before = Timestamp::from_millisecond(before).expect("a time");
        let found = firings(&fields, &answer.zone, &before.to_string(), 6);
        assert_eq!(
            found, answer.out,
            "{fields:?} in {} from {}",
            answer.zone, answer.start
        );
    }
}

#[test]
fn what_is_omitted_below_the_last_given_field_is_its_minimum() {
    assert_eq!(
        firings(&[("hour", "5")], "UTC", "2026-01-01T00:00:00Z", 2),
        ["2026-01-01T05:00:00Z", "2026-01-02T05:00:00Z"]
    );
    assert_eq!(
        firings(&[("month", "*/6")], "UTC", "2026-01-01T00:00:00Z", 2),
        ["2026-07-01T00:00:00Z", "2027-01-01T00:00:00Z"]
    );
    assert_eq!(
        firings(
            &[("day", "2"), ("second", "7")],
            "UTC",
            "2026-01-01T12:00:00Z",
            2
        ),
        ["2026-01-02T00:00:07Z", "2026-01-02T00:01:07Z"]
    );
    assert_eq!(
        firings(&[], "UTC", "2026-01-01T00:00:00Z", 2),
        ["2026-01-01T00:00:01Z", "2026-01-01T00:00:02Z"]
    );
}

#[test]
fn weekday_zero_is_monday() {
    for weekday in ["0", "mon", "MON"] {
        assert_eq!(
            firings(
                &[("day_of_week", weekday)],
                "UTC",
                "2026-01-01T00:00:00Z",
                1
            ),
            ["2026-01-05T00:00:00Z"]
        );
    }
    assert_eq!(
        firings(
            &[("day_of_week", "mon-fri")],
            "UTC",
            "2026-01-01T00:00:00Z",
            3
        ),
        [
            "2026-01-02T00:00:00Z",
            "2026-01-05T00:00:00Z",
            "2026-01-06T00:00:00Z"
        ]
    );
}

#[test]
fn days_can_depend_on_the_month() {
    assert_eq!(
        firings(
            &[("month", "2"), ("day", "last")],
            "UTC",
            "2027-01-01T00:00:00Z",
            2
        ),
        ["2027-02-28T00:00:00Z", "2028-02-29T00:00:00Z"]
    );
    assert_eq!(
        firings(
            &[("day", "2nd tue, last fri")],
            "UTC",
            "2026-01-01T00:00:00Z",
            2
        ),
        ["2026-01-13T00:00:00Z", "2026-01-30T00:00:00Z"]
    );
    assert_eq!(
        firings(&[("week", "53")], "UTC", "2026-01-05T00:00:00Z", 1),
        ["2026-12-28T00:00:00Z"]
    );
}

#[test]
fn a_skipped_local_time_fires_as_if_the_clock_had_not_jumped() {
    assert_eq!(
        firings(
            &[("hour", "2"), ("minute", "30")],
            "America/New_York",
            "2026-03-07T12:00:00Z",
            2
        ),
        ["2026-03-08T07:30:00Z", "2026-03-09T06:30:00Z"]
    );
    // Asked between the jump and the firing.
    assert_eq!(
        firings(
            &[("hour", "2"), ("minute", "30")],
            "America/New_York",
            "2026-03-08T07:10:00Z",
            1
        ),
        ["2026-03-08T07:30:00Z"]
    );
    assert_eq!(
        firings(
            &[("minute", "*/30")],
            "America/New_York",
            "2026-03-08T06:00:00Z",
            3
        ),
        [
            "2026-03-08T06:30:00Z",
            "2026-03-08T07:00:00Z",
            "2026-03-08T07:30:00Z"
        ]
    );
}

#[test]
fn a_local_time_that_happens_twice_fires_twice() {
    assert_eq!(
        firings(
            &[("hour", "1"), ("minute", "30")],
            "America/New_York",
            "2026-10-31T12:00:00Z",
            3
        ),
        [
            "2026-11-01T05:30:00Z",
            "2026-11-01T06:30:00Z",
            "2026-11-02T06:30:00Z"
        ]
    );
    // The second time is found although no later local time matches.
    assert_eq!(
        firings(
            &[
                ("year", "2026"),
                ("month", "11"),
                ("day", "1"),
                ("hour", "1")
            ],
            "America/New_York",
            "2026-10-31T12:00:00Z",
            3
        ),
        ["2026-11-01T05:00:00Z", "2026-11-01T06:00:00Z"]
    );
}

#[test]
fn what_never_matches_never_fires() {
    for fields in [
        &[("month", "2"), ("day", "30")][..],
        &[("year", "2020")][..],
        &[("month", "6"), ("week", "1")][..],
    ] {
        assert!(firings(fields, "Europe/Vienna", "2026-01-01T00:00:00Z", 1).is_empty());
    }
}

#[test]
fn expressions_are_checked() {
    for (name, text, problem) in [
        ("minute", "60", "higher than the maximum value (59)"),
        ("day", "0", "lower than the minimum value (1)"),
        ("hour", "5-3", "must not be higher"),
        ("hour", "*/0", "higher than 0"),
        ("hour", "*/24", "higher than the total range"),
        ("hour", "mon", "numbers only"),
        ("month", "foo", "invalid month name \"foo\""),
        ("day_of_week", "mon-foo", "invalid weekday name \"foo\""),
        ("day_of_week", "mon-fri/2", "no step"),
        ("day", "6th mon", "1st, 2nd"),
        ("day", "1st foo", "invalid weekday name \"foo\""),
        ("second", "", "\"\" is not a number"),
        ("second", "1,", "\"\" is not a number"),
        ("second", "-1", "\"\" is not a number"),
        ("second", "99999999999999999999", "too large"),
    ] {
        let error = cron(&[(name, text)], "UTC").expect_err(text).to_string();
        assert!(error.contains(problem), "{name} {text}: {error}");
        assert!(error.contains(&format!("for field \"{name}\"")), "{error}");
    }
}

proptest! {
    /// A firing is later than what was asked for, shows a matching clock unless that was skipped, and
    /// nothing between matches.
    #[test]
    fn firings_match_and_none_is_missed(
        hour in 0..24u8,
        minute in prop::sample::select(vec!["0", "*/7", "15,45", "5-20/5"]),
        zone in prop::sample::select(vec!["UTC", "Europe/Vienna", "America/St_Johns", "Australia/Lord_Howe", "Pacific/Apia"]),
        after in 1_000_000_000_000i64..2_000_000_000_000,
    ) {
        let cron = cron(&[("hour", &hour.to_string()), ("minute", minute)], zone).expect("a cron line");
        let next = cron.next(after).expect("it goes on");
        prop_assert!(next > after);
        // No further away than two days: it fires daily.
        prop_assert!(next - after <= 2 * 86_400_000 + 3_600_000);
        let between = after + (next - after) / 2;
        prop_assert_eq!(cron.next(between), Some(next));
        prop_assert_eq!(cron.next(next - 1), Some(next));
    }
}
