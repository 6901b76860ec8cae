//! The connector `opensearch`.
