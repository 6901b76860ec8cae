//! The connector `postgres`.
