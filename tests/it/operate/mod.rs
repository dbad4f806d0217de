//! In operation.
