//! Never open: what strangers, other devices and dishonest servers get from real processes, which is nothing.

mod modes;
mod ports;
mod probe;
