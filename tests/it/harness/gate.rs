//! A door in front of a server: open, hanging (it accepts and never answers) or shut.

use std::io::copy;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

const OPEN: u8 = 0;
const HANGING: u8 = 1;
const SHUT: u8 = 2;

/// A TCP proxy to a server on this host.
#[derive(Debug)]
pub(crate) struct Gate {
    pub(crate) port: u16,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    mode: AtomicU8,
    guests: AtomicUsize,
    held: Mutex<Vec<TcpStream>>,
}

impl Gate {
    /// An open gate in front of `server`.
    pub(crate) fn before(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State::default());
        let gate = Self { port, state: state.clone() };
        // The thread ends with the test's process.
        std::thread::spawn(move || listener.incoming().flatten().for_each(|guest| state.admit(guest, server)));
        gate
    }

    pub(crate) fn open(&self) {
        self.turn(OPEN);
    }

    pub(crate) fn hang(&self) {
        self.turn(HANGING);
    }

    pub(crate) fn shut(&self) {
        self.turn(SHUT);
    }

    /// How many came.
    pub(crate) fn guests(&self) -> usize {
        self.state.guests.load(SeqCst)
    }

    /// How many guests wait for an answer that will not come.
    pub(crate) fn waiting(&self) -> usize {
        self.state.held.lock().unwrap().len()
    }

    fn turn(&self, mode: u8) {
        self.state.mode.store(mode, SeqCst);
        if mode != HANGING {
            self.state.held.lock().unwrap().clear();
        }
    }
}

impl State {
    fn admit(&self, guest: TcpStream, server: u16) {
        self.guests.fetch_add(1, SeqCst);
        match self.mode.load(SeqCst) {
            OPEN => pass(guest, server),
            HANGING => self.held.lock().unwrap().push(guest),
            _ => drop(guest),
        }
    }
}

/// Carries bytes both ways between `guest` and a port of this host.
pub(super) fn pass(guest: TcpStream, server: u16) {
    let Ok(host) = TcpStream::connect(("127.0.0.1", server)) else { return };
    let one_way = |mut from: TcpStream, mut to: TcpStream| {
        std::thread::spawn(move || {
            let _ = copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Write);
        });
    };
    one_way(guest.try_clone().unwrap(), host.try_clone().unwrap());
    one_way(host, guest);
}
