//! The connector `object_store`.
