//! The embedded API as its clients see it: kube in process, the real kubectl over https, and after kill -9.

mod access;
mod alone;
mod durability;
mod fleet;
mod kubectl;
mod left_out;
mod objects;
mod raw;
mod refused;
mod requests;
mod support;
mod watches;
