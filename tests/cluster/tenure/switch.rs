//! Between machines and the instances of a site: machines reach one address, as they reach a Service, and it leads to whichever
//! instance is switched in.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

/// Which one, and what goes through.
#[derive(Default)]
pub(super) struct Switch {
    /// The address of the instance that machines reach.
    pub(super) to: Option<IpAddr>,
    /// Connections of machines to it.
    pub(super) through: Vec<TcpStream>,
}

/// Passes connections on to whichever instance is switched in, at the same port.
pub(super) fn pass_on(listener: TcpListener, switch: &Arc<Mutex<Switch>>) {
    let (switch, port) = (switch.clone(), listener.local_addr().unwrap().port());
    thread::spawn(move || {
        for machine in listener.incoming().map_while(Result::ok) {
            let mut switch = switch.lock().unwrap();
            let Some(site) = switch.to.and_then(|address| TcpStream::connect((address, port)).ok()) else { continue };
            switch.through.push(machine.try_clone().unwrap());
            for (mut from, mut to) in [
                (machine.try_clone().unwrap(), site.try_clone().unwrap()),
                (site.try_clone().unwrap(), machine.try_clone().unwrap()),
            ] {
                thread::spawn(move || {
                    let _ = io::copy(&mut from, &mut to);
                    let _ = to.shutdown(std::net::Shutdown::Both);
                });
            }
        }
    });
}

/// A port that is free with its neighbours on the addresses that are used here.
pub(super) fn free_port() -> u16 {
    let addresses = [1, 2, 3].map(|last| Ipv4Addr::new(127, 0, 0, last));
    let free = |port: u16| addresses.iter().all(|address| TcpListener::bind((*address, port)).is_ok());
    let seed = u16::try_from(std::process::id() % 1_000).unwrap();
    (0..1_000).map(|step| 18_001 + (seed + step) % 1_000 * 4).find(|port| (port - 1..=port + 2).all(free)).unwrap()
}
