//! The requests under way on one HTTP/2 connection, and what the time says about them.

use super::client::{ClientConnection, Overdue, Patience, Since};
use crate::domain::table::Millis;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, Weak};

/// One HTTP/2 connection of a client.
#[derive(Debug)]
pub struct Streams {
    connection: Arc<ClientConnection>,
    open: Mutex<Open>,
    /// Since when the client owes the rest of its preface or of a header block.
    amid: Since,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    requests: HashMap<u64, Weak<ClientConnection>>,
}

/// A request's place among those of its connection.
#[derive(Debug)]
pub struct Ticket {
    streams: Arc<Streams>,
    number: u64,
}

impl Ticket {
    /// The request is over.
    pub fn ends(&self, now: Millis) {
        self.streams.open().requests.remove(&self.number);
        self.streams.connection.request_ends(now);
    }
}

impl Streams {
    pub fn new(connection: Arc<ClientConnection>) -> Arc<Streams> {
        Arc::new(Streams {
            connection,
            open: Mutex::default(),
            amid: Since::default(),
        })
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// A request came. It is over when its [`super::exchange::Exchange`] is.
    pub fn begin(self: &Arc<Self>, now: Millis) -> Arc<ClientConnection> {
        self.connection.head_complete(now);
        let mut open = self.open();
        open.next += 1;
        let ticket = Ticket {
            streams: self.clone(),
            number: open.next,
        };
        let request = Arc::new(self.connection.stream(now, ticket));
        let number = open.next;
        open.requests.insert(number, Arc::downgrade(&request));
        request
    }

    /// From now on the client owes the rest of a head, or none.
    pub fn owes_head(&self, owes: bool, now: Millis) {
        self.amid.end();
        if owes {
            self.amid.begin(now);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.open().requests.is_empty()
    }

    /// Whether the connection's time is over. Those of its requests whose body does not come are told so.
    pub fn overdue(&self, now: Millis, patience: Patience) -> Overdue {
        if self.amid.lasts(now, patience.head) {
            return Overdue::Head;
        }
        let requests: Vec<_> = {
            let open = self.open();
            open.requests.values().filter_map(Weak::upgrade).collect()
        };
        for request in &requests {
            match request.overdue(now, patience) {
                Overdue::Reader => return Overdue::Reader,
                Overdue::Body => request.time_out_body(),
                Overdue::Fine | Overdue::Idle | Overdue::Head => {}
            }
        }
        match self.connection.overdue(now, patience) {
            Overdue::Idle if !requests.is_empty() => Overdue::Fine,
            overdue => overdue,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::crowd::Crowd;

    const PATIENCE: Patience = Patience {
        head: 10,
        idle: 100,
        body: 20,
        send: 30,
    };

    fn streams() -> Arc<Streams> {
        let place = Arc::new(Crowd::default()).enter();
        let peer = "127.0.0.1:5".parse().unwrap();
        Streams::new(Arc::new(ClientConnection::new(peer, 0, false, place)))
    }

    #[test]
    fn a_connection_is_idle_when_its_last_request_is_over() {
        let streams = streams();
        let (first, second) = (streams.begin(1), streams.begin(2));
        first.request_ends(3);
        assert_eq!(streams.overdue(1000, PATIENCE), Overdue::Fine);
        second.request_ends(1000);
        assert!(streams.is_empty());
        assert_eq!(streams.overdue(1099, PATIENCE), Overdue::Fine);
        assert_eq!(streams.overdue(1100, PATIENCE), Overdue::Idle);
    }

    #[test]
    fn a_body_that_does_not_come_ends_its_request_only() {
        let streams = streams();
        let (slow, other) = (streams.begin(1), streams.begin(1));
        slow.awaits_body(1);
        assert_eq!(streams.overdue(21, PATIENCE), Overdue::Fine);
        assert!(slow.body_timed_out() && !other.body_timed_out());
    }

    #[test]
    fn an_answer_that_is_not_read_and_a_head_that_does_not_end_end_the_connection() {
        let streams = streams();
        let request = streams.begin(1);
        request.awaits_reader(1);
        assert_eq!(streams.overdue(31, PATIENCE), Overdue::Reader);
        request.reader_moves();
        streams.owes_head(true, 40);
        streams.owes_head(true, 45);
        assert_eq!(streams.overdue(54, PATIENCE), Overdue::Fine);
        assert_eq!(streams.overdue(55, PATIENCE), Overdue::Head);
        streams.owes_head(false, 55);
        assert_eq!(streams.overdue(60, PATIENCE), Overdue::Fine);
    }
}
