//! A layout that is not an object's own ends the program: each case in a process of its own.

use mymalloc::MyMalloc;
use std::alloc::{GlobalAlloc, Layout};
use std::env;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

static HEAP: MyMalloc = MyMalloc;
const SIGABRT: i32 = 6;

fn layout(size: usize, align: usize) -> Layout {
    Layout::from_size_align(size, align).unwrap()
}

fn misuse(case: &str) {
    unsafe {
        let object = HEAP.alloc(layout(100, 8));
        match case {
            "none" => HEAP.dealloc(object, layout(100, 8)),
            "size" => HEAP.dealloc(object, layout(1000, 8)),
            "alignment" => HEAP.dealloc(object.add(8), layout(92, 64)),
            "overflow" => {
                object.add(100).write_volatile(0);
                HEAP.dealloc(object, layout(100, 8));
            }
            "within" => HEAP.dealloc(object, layout(99, 8)),
            "twice" => {
                HEAP.dealloc(object, layout(100, 8));
                HEAP.dealloc(object, layout(100, 8));
            }
            _ => unreachable!(),
        }
    }
}

/// This program again, with one case: the signal that ended it, and what it said.
fn run(case: &str) -> (Option<i32>, String) {
    let output = Command::new(env::current_exe().unwrap())
        .args(["--exact", "wrong_layouts_end_the_program", "--nocapture"])
        .env("MISUSE", case)
        .output()
        .unwrap();

    (output.status.signal(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn wrong_layouts_end_the_program() {
    if let Ok(case) = env::var("MISUSE") {
        return misuse(&case);
    }
    assert_eq!(run("none").0, None);
    let mut cases = vec![
        ("size", "sized free with a wrong size"),
        ("alignment", "mymalloc: "),
        ("twice", "double free"),
    ];
    if cfg!(feature = "secure") {
        cases.push(("overflow", "write beyond the end of an object"));
        cases.push(("within", "sized free with a wrong size"));
    }
    for (case, words) in cases {
        let (signal, said) = run(case);
        assert_eq!(signal, Some(SIGABRT), "{case}: {said}");
        assert!(said.contains(words), "{case}: {said}");
    }
}
