//! Instances that no agent takes: how long waiting for room makes sense, and what to say then.
//!
//! A look may show the reason of the process as it was a moment ago (too large, and just made
//! smaller), so even a reason that is final must be seen for [`BELIEVED_AFTER`].

use crate::failure::{Code, Failure};
use std::time::Duration;

/// How long a final reason must stand.
const BELIEVED_AFTER: Duration = Duration::from_secs(2);
/// How long to wait for room while nothing more comes up.
const ROOM_WITHIN: Duration = Duration::from_secs(20);

/// Why an instance is not placed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Want {
    /// No agent could ever hold it.
    Never(String),
    /// Not now.
    Now(String),
}

impl Want {
    /// Reads the details of an instance that is down.
    pub fn read(details: &str) -> Want {
        let final_ = proto::api::WAITS_IN_VAIN
            .iter()
            .any(|clause| details.contains(clause));
        match final_ {
            true => Want::Never(details.to_string()),
            false => Want::Now(details.to_string()),
        }
    }

    fn text(&self) -> &str {
        match self {
            Want::Never(text) | Want::Now(text) => text,
        }
    }

    /// What is needed. The rest, what the agents have, changes all the time.
    fn need(&self) -> &str {
        self.text().split(';').next().unwrap_or_default()
    }

    fn worth_waiting(&self) -> Duration {
        match self {
            Want::Never(_) => BELIEVED_AFTER,
            Want::Now(_) => ROOM_WITHIN,
        }
    }
}

/// Remembers since when the same is wanted in vain.
#[derive(Debug, Default)]
pub struct Patience {
    want: Option<Want>,
    since: Duration,
    running: u32,
    now: Duration,
    told: String,
}

impl Patience {
    /// One look at time `now`. Gives back the reason when it is news.
    pub fn look(&mut self, want: Option<&Want>, running: u32, now: Duration) -> Option<String> {
        let same = match (&self.want, want) {
            (Some(before), Some(want)) => before.need() == want.need(),
            _ => false,
        };
        if !same || running > self.running {
            self.since = now;
        }
        self.running = running;
        self.now = now;
        self.want = want.cloned();
        let want = want?;
        if self.told == want.need() {
            return None;
        }
        self.told = want.need().to_string();
        Some(want.text().to_string())
    }

    /// What is wanted for too long already.
    pub fn lost(&self) -> Option<Want> {
        let want = self.want.as_ref()?;
        (self.now - self.since >= want.worth_waiting()).then(|| want.clone())
    }
}

/// The failure of an app that does not get its room.
pub fn no_room(app: &str, want: &Want, running: u32, wanted: u32) -> Failure {
    let so_far = format!("{running} of {wanted} running");
    let what = match want {
        Want::Never(why) => format!("the app {app} cannot be placed ({so_far}): {why}"),
        Want::Now(why) => {
            let seconds = ROOM_WITHIN.as_secs();
            let what = match running {
                0 => format!("the app {app}"),
                _ => format!("some instances of the app {app}"),
            };
            format!("{what} got no place within {seconds}s ({so_far}): {why}")
        }
    };
    let fix = match want {
        Want::Never(_) => format!(
            "`yard scale {app} --memory SIZE --disk SIZE` with less; `yard status` shows the agents"
        ),
        Want::Now(_) => format!(
            "`yard status` shows the agents; what waits starts when there is room, or `yard scale {app}` with less"
        ),
    };
    Failure::new(Code::AppDown, what).fix(fix)
}

/// The failure of a deployment whose new instances fit nowhere.
pub fn no_room_to_replace(app: &str, old: &str, why: &str) -> Failure {
    Failure::new(
        Code::AppDown,
        format!("the new version of {app} was taken back, {old}: {why}"),
    )
    .fix(format!(
        "push it with less memory or disk; {app} has the size it had before"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEVER: &str = "needs 4096 MB memory, more than any agent could ever give; the best agent, dea-1, has 1 MB";
    const FULL: &str = "needs 2000 MB memory; the best agent, dea-1, has 1800 MB free of 2048 MB";

    fn seconds(number: u64) -> Duration {
        Duration::from_secs(number)
    }

    #[test]
    fn a_final_reason_ends_the_waiting_when_it_stands() {
        let mut patience = Patience::default();
        let never = Want::read(NEVER);
        assert_eq!(never, Want::Never(NEVER.into()));
        assert!(matches!(
            Want::read("needs stack x; the agents offer host"),
            Want::Never(_)
        ));
        assert_eq!(
            patience.look(Some(&never), 0, seconds(5)).as_deref(),
            Some(NEVER)
        );
        assert_eq!(patience.lost(), None, "it may be a moment old");
        let less = Want::read(&NEVER.replace("1 MB", "9 MB"));
        assert_eq!(patience.look(Some(&less), 0, seconds(7)), None, "no news");
        assert_eq!(patience.lost(), Some(less));
        patience.look(None, 0, seconds(8));
        assert_eq!(patience.lost(), None);
    }

    #[test]
    fn room_is_waited_for_while_something_comes_up() {
        let mut patience = Patience::default();
        let full = Want::read(FULL);
        patience.look(Some(&full), 0, seconds(0));
        patience.look(Some(&full), 1, seconds(19));
        patience.look(Some(&full), 1, seconds(38));
        assert_eq!(patience.lost(), None);
        patience.look(Some(&full), 1, seconds(39));
        assert_eq!(patience.lost(), Some(full));
    }
}
