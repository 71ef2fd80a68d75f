//! Where objects come from. Files and directories today; the Kubernetes API is a later source.

pub mod directory;
pub mod hints;
mod parse;
