//! The site server: assembles controllers, offer manager, distribution and status, the listeners, and the built-in
//! access point and distribution point. The one place where shells meet.

mod access_points;
mod builtin;
mod enrol;
pub mod fleet;
mod health;
mod intake;
mod listeners;
mod offers;
mod options;
mod points;
mod routes;
mod serve;
mod shelf;
mod signals;
mod snapshot;
mod sources;
pub mod state;
mod sync;

pub use self::{
    options::{Endpoints, Listen, Options, Served},
    serve::{SiteError, run},
};
