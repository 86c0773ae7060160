//! The site database: all SQL of the site lives here.
