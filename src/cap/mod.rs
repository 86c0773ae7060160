//! The client access point: where clients read policy and leave status.
