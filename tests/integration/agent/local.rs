//! The agent's socket and a user who holds connections to it.

use std::os::unix::net::UnixStream;

use super::{machine::Machine, site::Site};

#[test]
fn idle_connections_shut_out_nobody_but_their_user_and_not_for_long() {
    let site = Site::start();
    let machine = Machine::of(&site);
    machine.eventually("the socket answers", || machine.ask(&["offers"]).status.success().then_some(()));
    let socket = machine.state().with_added_extension("sock");
    let idle: Vec<_> = (0..100).map(|_| UnixStream::connect(&socket).unwrap()).collect();
    let refused = machine.ask(&["offers"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("too many connections of this user"), "{said}");
    machine.eventually("idle ones are closed", || machine.ask(&["offers"]).status.success().then_some(()));
    drop(idle);
}
