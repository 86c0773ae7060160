//! The site server: assembles controllers, scheduler, distribution manager, offer manager and status manager.
