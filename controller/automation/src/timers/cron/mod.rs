//! Cron lines with the fields and expressions of APScheduler 3.
//!
//! Problem: the next instant, strictly after another, whose local time matches eight fields, in a zone
//! whose clock jumps. Approach: a search over local times that knows no zone ([`Cron::local_match`]),
//! and around it a walk over the stretches of time in which the zone's offset is constant.
//!
//! What the clock's jumps mean: a local time that is skipped fires as if the clock had not yet jumped
//! (02:30 becomes 03:30), a local time that happens twice fires twice. APScheduler agrees on single
//! times; on the day of a jump it loses some firings of lines with several (it adds whole hours to the
//! clock where a day has 23 or 25), which is not imitated.

mod field;

use field::{DayField, Field};
pub use field::{FieldError, NAMES};
use jiff::Timestamp;
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{Offset, TimeZone};
use std::collections::BTreeMap;

/// A cron line in a zone.
#[derive(Debug, Clone)]
pub struct Cron {
    zone: TimeZone,
    year: Field,
    month: Field,
    day: DayField,
    week: Field,
    weekday: Field,
    hour: Field,
    minute: Field,
    second: Field,
}

impl Cron {
    /// Reads the given fields; see [`NAMES`]. Fields after the last given one are their minimum
    /// (`week` and `day_of_week` are never restricted that way), the others match everything.
    pub fn parse(given: &BTreeMap<&str, String>, zone: TimeZone) -> Result<Cron, FieldError> {
        let last_given = NAMES.iter().rposition(|name| given.contains_key(name));
        let text = |name: &str| -> String {
            let index = NAMES.iter().position(|known| *known == name);
            match given.get(name) {
                Some(text) => text.clone(),
                None if index > last_given && last_given.is_some() => {
                    field::omitted(name).to_owned()
                }
                None => "*".to_owned(),
            }
        };
        let plain = |name| Field::parse(name, &text(name));
        Ok(Cron {
            year: plain("year")?,
            month: plain("month")?,
            day: DayField::parse(&text("day"))?,
            week: plain("week")?,
            weekday: plain("day_of_week")?,
            hour: plain("hour")?,
            minute: plain("minute")?,
            second: plain("second")?,
            zone,
        })
    }

    /// The first instant strictly after this one, in Unix milliseconds.
    pub fn next(&self, after: i64) -> Option<i64> {
        let start = Timestamp::from_second(after.div_euclid(1000).checked_add(1)?).ok()?;
        let mut start = start;
        let mut skipped = self.skipped_before(start);
        // A stretch without a match is followed by at most one more look once the search over local
        // times has said that nothing follows: a clock set back can still bring a match up again.
        let mut exhausted = false;
        loop {
            let offset = self.zone.to_offset(start);
            let end = self.zone.following(start).next();
            let end_at = end.as_ref().map(|transition| transition.timestamp());
            let local = self.local_match(offset.to_datetime(start));
            let found = local
                .and_then(|local| offset.to_timestamp(local).ok())
                .filter(|instant| end_at.is_none_or(|end| *instant < end));
            if let Some(instant) = [found, skipped].into_iter().flatten().min() {
                return Some(instant.as_millisecond());
            }
            let transition = end?;
            if local.is_none() {
                if exhausted {
                    return None;
                }
                exhausted = true;
            }
            start = transition.timestamp();
            skipped = self.skipped_at(start, offset, transition.offset(), start);
        }
    }

    /// If this instant follows so closely on a jump of the clock that skipped local times are still
    /// due, the next of them.
    fn skipped_before(&self, start: Timestamp) -> Option<Timestamp> {
        let after_start = start
            .checked_add(jiff::SignedDuration::from_nanos(1))
            .ok()?;
        let jump = self.zone.preceding(after_start).next()?;
        let before = jump
            .timestamp()
            .checked_sub(jiff::SignedDuration::from_nanos(1))
            .ok()?;
        self.skipped_at(
            jump.timestamp(),
            self.zone.to_offset(before),
            jump.offset(),
            start,
        )
    }

    /// The first match, not before `from`, among the local times that a jump of the clock skipped.
    /// They fire by the offset before the jump.
    fn skipped_at(
        &self,
        jump: Timestamp,
        before: Offset,
        after: Offset,
        from: Timestamp,
    ) -> Option<Timestamp> {
        let resumes = after.to_datetime(jump);
        let first = before.to_datetime(from.max(jump));
        if first >= resumes {
            return None;
        }
        let local = self.local_match(first).filter(|local| *local < resumes)?;
        before.to_timestamp(local).ok()
    }

    /// The first local time not before this one that matches.
    fn local_match(&self, from: DateTime) -> Option<DateTime> {
        let mut date = from.date();
        let mut floor = from.time();
        loop {
            let matching = self.date_match(date)?;
            if matching != date {
                floor = Time::midnight();
            }
            if let Some(time) = self.time_match(floor) {
                return Some(matching.to_datetime(time));
            }
            date = matching.tomorrow().ok()?;
            floor = Time::midnight();
        }
    }

    /// The first date not before this one that matches.
    fn date_match(&self, from: Date) -> Option<Date> {
        let mut date = from;
        loop {
            let year = self.year.next(date.year().into(), 9999)?;
            let year = i16::try_from(year).ok()?;
            if year > date.year() {
                date = Date::new(year, 1, 1).ok()?;
            }
            let Some(month) = self.month.next(date.month().into(), 12) else {
                date = Date::new(date.year().checked_add(1)?, 1, 1).ok()?;
                continue;
            };
            let month = i8::try_from(month).ok()?;
            if month > date.month() {
                date = Date::new(date.year(), month, 1).ok()?;
            }
            let day = (date.day()..=date.days_in_month()).find_map(|day| {
                let date = Date::new(date.year(), date.month(), day).ok()?;
                let matches = self.day.contains(date)
                    && self.week.contains(date.iso_week_date().week().into())
                    && self
                        .weekday
                        .contains(date.weekday().to_monday_zero_offset().into());
                matches.then_some(date)
            });
            match day {
                Some(date) => return Some(date),
                None => date = date.last_of_month().tomorrow().ok()?,
            }
        }
    }

    fn time_match(&self, floor: Time) -> Option<Time> {
        let mut hour = self.hour.next(floor.hour().into(), 23)?;
        let mut minute = 0;
        let mut second = 0;
        if hour == i64::from(floor.hour()) {
            minute = i64::from(floor.minute());
            second = i64::from(floor.second());
        }
        loop {
            match self.minute.next(minute, 59) {
                Some(found) => {
                    if found > minute {
                        second = 0;
                    }
                    minute = found;
                    if let Some(second) = self.second.next(second, 59) {
                        return Time::new(
                            i8::try_from(hour).ok()?,
                            i8::try_from(minute).ok()?,
                            i8::try_from(second).ok()?,
                            0,
                        )
                        .ok();
                    }
                    minute += 1;
                }
                None => {
                    hour = self.hour.next(hour + 1, 23)?;
                    minute = 0;
                }
            }
            second = 0;
        }
    }
}

#[cfg(test)]
mod tests;
