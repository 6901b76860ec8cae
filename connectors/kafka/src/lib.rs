//! The connector `kafka`.
