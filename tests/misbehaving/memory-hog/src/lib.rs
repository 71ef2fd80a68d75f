//! `route` takes all the memory that it is given, says how much that is, and gives up.

use sekisho_ordinary::{MISBEHAVE, Ordinary};

/// The plugin.
#[derive(Debug)]
pub struct MemoryHog;

impl Ordinary for MemoryHog {
    fn route(path: &str, ordinary: Option<u32>) -> Option<u32> {
        if path == MISBEHAVE {
            let mut hoard: Vec<Vec<u8>> = Vec::new();
            loop {
                let mut piece = Vec::new();
                if piece.try_reserve_exact(1 << 20).is_err() {
                    break;
                }
                hoard.push(std::hint::black_box(piece));
            }
            let got = hoard.len();
            drop(hoard);
            panic!("no more than {got} MiB");
        }
        ordinary
    }
}

sekisho_ordinary::export!(MemoryHog);
