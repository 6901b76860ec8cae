//! `log('access.log*')`, `log('access.log*', 'combined')`: raw log files as a table, without any
//! pipeline.
//!
//! Plain files are read in pieces on all threads; only the columns that the query names are made.
//! Lines that the format refuses are left out and counted in [`RefusedLines`]; files of a pattern
//! that cannot be read are in [`UnreadFiles`], and the others answer; a format that was found out
//! stands in [`TakenFormats`].

mod files;
mod pipes;
mod scan;
mod table;

pub use files::files_below;
pub use pipes::take_stdin;
pub use scan::{Refusal, RefusedLines, UnreadFiles};
pub use table::{LogFunction, TakenFormats};
