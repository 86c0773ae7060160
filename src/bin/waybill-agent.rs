//! The slim client: the agent without the server and its dependencies.

fn main() {}
