//! The contract of GlobalAlloc, and that it is mymalloc that keeps it.

use mymalloc::MyMalloc;
use std::alloc::{GlobalAlloc, Layout};
use std::collections::BTreeMap;
use std::thread;

#[global_allocator]
static HEAP: MyMalloc = MyMalloc;

const SIZES: [usize; 13] =
    [1, 15, 16, 17, 100, 1024, 1025, 4096, 20_000, 131_072, 131_073, 3 << 20, 33 << 20];
const ALIGNMENTS: [usize; 8] = [1, 8, 16, 32, 64, 4096, 65_536, 2 << 20];

fn layouts() -> impl Iterator<Item = Layout> {
    ALIGNMENTS.into_iter().flat_map(|align| {
        SIZES.into_iter().map(move |size| Layout::from_size_align(size, align).unwrap())
    })
}

/// Of a large object, the places that are looked at: touching all would take minutes.
fn places(size: usize) -> impl Iterator<Item = usize> {
    let step = if size > 200_000 { 65_521 } else { 1 };
    (0..size).step_by(step).chain([size - 1])
}

/// A byte that tells where it is, so that a copy of the wrong part shows.
fn mark(i: usize) -> u8 {
    (i / 251 + i) as u8
}

unsafe fn fill(object: *mut u8, size: usize) {
    places(size).for_each(|i| *object.add(i) = mark(i));
}

/// What `fill` wrote into an object of `whole` bytes is in its first `size`.
unsafe fn holds(object: *const u8, whole: usize, size: usize) -> bool {
    places(whole).filter(|&i| i < size).all(|i| *object.add(i) == mark(i))
}

#[test]
fn objects_of_rust_are_of_this_heap() {
    assert!(MyMalloc::version().starts_with("mymalloc "));
    assert_ne!(MyMalloc::front_end().0, "none yet");
    let boxed = Box::new([7u8; 100]);
    // Of another heap's object this would end the test.
    let usable = unsafe { MyMalloc::usable_size(boxed.as_ptr()) };
    assert!((100..=128).contains(&usable), "{usable}");
}

#[test]
fn objects_are_aligned_and_whole() {
    for layout in layouts() {
        unsafe {
            let object = HEAP.alloc(layout);
            assert!(!object.is_null() && object as usize % layout.align() == 0, "{layout:?}");
            fill(object, layout.size());
            assert!(holds(object, layout.size(), layout.size()), "{layout:?}");
            HEAP.dealloc(object, layout);
        }
    }
}

#[test]
fn zeroed_objects_are_zero_where_others_were() {
    for layout in layouts() {
        for _ in 0..2 {
            unsafe {
                let object = HEAP.alloc_zeroed(layout);
                assert!(!object.is_null() && object as usize % layout.align() == 0, "{layout:?}");
                assert!(places(layout.size()).all(|i| *object.add(i) == 0), "{layout:?}");
                places(layout.size()).for_each(|i| *object.add(i) = 0xa5); // for the next round
                HEAP.dealloc(object, layout);
            }
        }
    }
}

#[test]
fn realloc_keeps_bytes_and_alignment() {
    for layout in layouts() {
        for size in SIZES {
            unsafe {
                let old = HEAP.alloc(layout);
                fill(old, layout.size());
                let new = HEAP.realloc(old, layout, size);
                let what = format!("{layout:?} to {size}");
                assert!(!new.is_null() && new as usize % layout.align() == 0, "{what}");
                assert!(holds(new, layout.size(), size), "{what}");
                // All of it is ours, and the heap knows it by its new size.
                fill(new, size);
                HEAP.dealloc(new, Layout::from_size_align(size, layout.align()).unwrap());
            }
        }
    }
}

#[test]
fn what_does_not_exist_is_refused() {
    let mut bytes: Vec<u8> = vec![1, 2, 3];
    assert!(bytes.try_reserve_exact(isize::MAX as usize - 4096).is_err());
    assert_eq!(bytes, [1, 2, 3]);
    let huge = Layout::from_size_align(isize::MAX as usize - 4096, 64).unwrap();
    unsafe {
        assert!(HEAP.alloc(huge).is_null());
        assert!(HEAP.alloc_zeroed(huge).is_null());
        let small = Layout::from_size_align(100, 64).unwrap();
        let object = HEAP.alloc(small);
        fill(object, 100);
        assert!(HEAP.realloc(object, small, isize::MAX as usize - 4096).is_null());
        assert!(holds(object, 100, 100)); // it is as it was
        HEAP.dealloc(object, small);
    }
}

#[test]
fn collections_travel_between_threads() {
    let made: Vec<BTreeMap<usize, String>> = (0..4)
        .map(|t| thread::spawn(move || (0..5000).map(|i| (i, format!("{t}:{i}"))).collect()))
        .collect::<Vec<_>>()
        .into_iter()
        .map(|thread| thread.join().unwrap())
        .collect();
    for (t, map) in made.into_iter().enumerate() {
        thread::spawn(move || {
            for (i, text) in &map {
                assert_eq!(*text, format!("{t}:{i}"));
            }
            drop(map);
        })
        .join()
        .unwrap();
    }
    MyMalloc::trim(0);
    assert_eq!(MyMalloc::verify(), 0);
}
