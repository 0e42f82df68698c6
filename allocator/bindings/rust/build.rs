//! Finds the C library: MYMALLOC_LIB_DIR, or else pkg-config.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{exit, Command};

const DIR: &str = "MYMALLOC_LIB_DIR";
const HINT: &str = "install libmymalloc-dev, or set MYMALLOC_LIB_DIR to the directory of the library";

fn fail(what: String) -> ! {
    eprintln!("mymalloc: {what}");
    exit(1);
}

/// What pkg-config answers; its own words where it refuses.
fn ask(program: &str, question: &str) -> String {
    match Command::new(program).args([question, "mymalloc"]).output() {
        Err(error) => fail(format!("cannot run {program}: {error}; {HINT}")),
        Ok(output) if !output.status.success() => {
            let words = String::from_utf8_lossy(&output.stderr);
            fail(format!("{program} does not know mymalloc; {HINT}\n{}", words.trim_end()))
        }
        Ok(output) => String::from_utf8_lossy(&output.stdout).trim().to_string(),
    }
}

/// "0.1" of "0.1.3": below 1.0 a minor version may change the interface.
fn series(version: &str) -> String {
    version.split('.').take(2).collect::<Vec<_>>().join(".")
}

fn from_pkg_config() -> PathBuf {
    let program = env::var("PKG_CONFIG").unwrap_or_else(|_| "pkg-config".into());
    let (found, wanted) = (ask(&program, "--modversion"), env!("CARGO_PKG_VERSION"));

    if series(&found) != series(wanted) {
        fail(format!("version {found} is installed, this crate is for {}.x", series(wanted)));
    }
    // It is quoted for a shell: a blank has a backslash in front.
    PathBuf::from(ask(&program, "--variable=libdir").replace('\\', ""))
}

fn has(directory: &Path, file: &str) {
    if !directory.join(file).is_file() {
        fail(format!("{} has no {file}; {HINT}", directory.display()));
    }
}

fn main() {
    let directory = match env::var_os(DIR) {
        Some(directory) => PathBuf::from(directory),
        None => from_pkg_config(),
    };

    println!("cargo:rerun-if-changed=build.rs");
    for variable in [DIR, "PKG_CONFIG", "PKG_CONFIG_PATH", "PKG_CONFIG_LIBDIR"] {
        println!("cargo:rerun-if-env-changed={variable}");
    }
    println!("cargo:rustc-link-search=native={}", directory.display());
    let secure = env::var_os("CARGO_FEATURE_SECURE").is_some();
    let library = if secure { "mymalloc_secure" } else { "mymalloc" };
    if env::var_os("CARGO_FEATURE_STATIC").is_some() {
        has(&directory, &format!("lib{library}.a"));
        println!("cargo:rustc-link-lib=static={library}");
    } else {
        has(&directory, &format!("lib{library}.so"));
        println!("cargo:rustc-link-lib=dylib={library}");
    }
}
