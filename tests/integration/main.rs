//! Integration tests: real processes, files and sockets; one binary, one module a subject.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report; clippy knows only functions marked as tests")]

mod run;
