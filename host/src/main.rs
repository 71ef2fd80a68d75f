//! Sekisho.
fn main() {}
