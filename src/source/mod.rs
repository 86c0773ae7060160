//! Package sources: where the files of a package come from.
