//! Timers: when an interval, a date or a cron line fires next.
