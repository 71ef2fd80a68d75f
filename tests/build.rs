//! A misbehaving plugin without a test proves nothing: such a build stops here.

use std::fs;
use std::path::{Path, PathBuf};

fn main() {
    println!("cargo::rerun-if-changed=misbehaving");
    println!("cargo::rerun-if-changed=e2e");
    let tests: Vec<String> =
        files_below(Path::new("e2e")).iter().filter_map(|file| fs::read_to_string(file).ok()).collect();
    for entry in fs::read_dir("misbehaving").expect("tests/misbehaving is there").flatten() {
        let path = entry.path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let named = format!("\"{name}\"");
        if !tests.iter().any(|text| text.contains(&named)) {
            println!(
                "cargo::error=tests/misbehaving/{name} has no test: add one to tests/e2e/sandbox/ that names it as {named}"
            );
        }
    }
}

fn files_below(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() { files.extend(files_below(&path)) } else { files.push(path) }
    }
    files
}
