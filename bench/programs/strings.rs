// strings - hash tables of strings, as ordinary Rust programs keep them.
//
// Four threads. Each fills a HashMap<u64, String> of 200,000, replaces a quarter, adds up
// the lengths and lets it go; four times. A wrong sum is an error.
use std::collections::HashMap;
use std::process::ExitCode;
use std::thread;

const THREADS: u64 = 4;
const ROUNDS: u64 = 4;
const ENTRIES: u64 = 200_000;

fn name_of(key: u64) -> String {
    format!("the value of key {key}")
}

fn run_once() -> bool {
    let mut table = HashMap::new();
    for key in 0..ENTRIES {
        table.insert(key, name_of(key));
    }
    for key in (0..ENTRIES).step_by(4) {
        table.remove(&key);
        table.insert(key, name_of(key) + " again");
    }
    let found: usize = table.values().map(String::len).sum();
    let expected: usize = (0..ENTRIES)
        .map(|key| {
            "the value of key ".len()
                + key.to_string().len()
                + if key % 4 == 0 { " again".len() } else { 0 }
        })
        .sum();
    found == expected
}

fn main() -> ExitCode {
    let threads: Vec<_> = (0..THREADS)
        .map(|_| thread::spawn(|| (0..ROUNDS).all(|_| run_once())))
        .collect();
    if threads.into_iter().all(|t| t.join().unwrap_or(false)) {
        return ExitCode::SUCCESS;
    }
    eprintln!("strings: a sum is wrong");
    ExitCode::FAILURE
}
