//! Server-sent events: the source sends event n+1 only after the client has said that it read n.

use super::{answer, field};
use crate::common::{BackendConn, DEADLINE};
use std::sync::{Condvar, Mutex};

/// Events until the source ends its stream, so that the client comes back for the rest.
pub const FIRST: usize = 20;
/// Events in all.
pub const ALL: usize = 25;

/// What has been read so far, and with what the streams began.
#[derive(Default)]
struct State {
    read: usize,
    begins: Vec<Option<String>>,
}

/// The source; its clients come one after the other.
#[derive(Default)]
pub struct Source {
    state: Mutex<State>,
    changed: Condvar,
}

impl Source {
    /// Forgets the client before; gives the `Last-Event-ID` that each of its streams began with.
    pub fn renew(&self) -> Vec<Option<String>> {
        std::mem::take(&mut *self.state.lock().unwrap()).begins
    }

    /// The client has read the event `number`.
    pub fn acknowledge(&self, number: usize) {
        self.state.lock().unwrap().read = number;
        self.changed.notify_all();
    }

    /// `/events`: the stream, in chunks; `/ack/NUMBER`.
    pub fn serve(&self, conn: &mut BackendConn, head: &str, path: &str) -> bool {
        if let Some(number) = path.strip_prefix("/ack/") {
            self.acknowledge(number.parse().unwrap());
            return answer(conn, "204 No Content", "", b"");
        }
        let last = field(head, "last-event-id").map(str::to_owned);
        let from = last.as_ref().map_or(0, |id| id.parse().unwrap());
        let to = if from < FIRST { FIRST } else { ALL };
        self.state.lock().unwrap().begins.push(last);
        let fields =
            "Content-Type: text/event-stream\r\nCache-Control: no-store\r\nTransfer-Encoding: chunked";
        conn.send(format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n"));
        chunk(conn, RETRY);
        for number in from + 1..=to {
            chunk(conn, &event(number));
            if !self.is_read(number) {
                // The client has gone, or Tidegate keeps the event back: what it misses says so.
                return false;
            }
        }
        conn.send("0\r\n\r\n");
        true
    }

    fn is_read(&self, number: usize) -> bool {
        let state = self.state.lock().unwrap();
        let wait = self.changed.wait_timeout_while(state, DEADLINE, |state| state.read < number);
        !wait.unwrap().1.timed_out()
    }
}

/// How long a client waits before it comes back.
const RETRY: &str = "retry: 50\n\n";

/// An event on the wire: two lines of data, not all of it ASCII.
fn event(number: usize) -> String {
    format!("id: {number}\ndata: ereignis №{number}\ndata: {}\n\n", filler(number))
}

/// A stream's whole text up to the event `to`.
pub fn text(to: usize) -> String {
    (1..=to).fold(RETRY.to_owned(), |text, number| text + &event(number))
}

/// An event's data as a client sees it.
pub fn data(number: usize) -> String {
    format!("ereignis №{number}\n{}", filler(number))
}

fn filler(number: usize) -> String {
    "x".repeat(number * 37 % 500)
}

fn chunk(conn: &mut BackendConn, text: &str) {
    conn.send(format!("{:x}\r\n{text}\r\n", text.len()));
}
