//! The site server: assembles controllers, offer manager, distribution and status, the listeners, and the built-in
//! access point and distribution point. The one place where shells meet.

mod access_points;
mod aggregated;
mod builtin;
mod claim;
mod definitions;
mod enrol;
mod error;
mod first_grant;
pub mod fleet;
mod health;
mod intake;
mod listeners;
mod objects;
mod offers;
mod options;
mod places;
mod point_names;
mod points;
mod refused;
mod routes;
mod serve;
mod shelf;
mod signals;
mod snapshot;
mod sources;
pub mod state;
mod sync;
mod tenure;
mod vitals;
mod watched;

pub use self::{
    error::SiteError,
    options::{Aggregate, Endpoints, Listen, ObjectsIn, Options, Served, Started},
    serve::run,
};
