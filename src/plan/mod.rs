//! Every decision, as a pure function of (facts, now). No I/O, no clock, no async.
