//! What a source, a transform and a sink owe to the runtime, and nothing else.
//!
//! Records are Arrow [`RecordBatch`](arrow::record_batch::RecordBatch)es from the first byte to
//! the last. This crate knows no connector, no file format and no loop; every other crate may
//! depend on it, and it depends on none of them.
//!
//! Reading order: [`position`] (what a place in a source is), [`record`] (which columns carry the
//! origin), [`source`], [`transform`], [`sink`] (the three contracts), [`discovery`] (what a source
//! says of its splits), [`spec`] (how a connector presents itself), [`needs`] (what must exist
//! outside), [`section`], [`quantity`], [`zone`] and [`property`] (settings with their place in the
//! file), [`pem`] (files that they name), [`error`] and [`failpoint`].

pub mod discovery;
pub mod error;
pub mod failpoint;
pub mod needs;
pub mod pem;
pub mod position;
pub mod property;
pub mod quantity;
pub mod record;
pub mod section;
pub mod sink;
pub mod source;
pub mod spec;
pub mod transform;
pub mod zone;

pub use error::{Error, ErrorKind, Place, Result};
pub use position::{KeptShortcut, Lineage, Origin, Position, Shortcut, SplitId};
pub use section::Section;
