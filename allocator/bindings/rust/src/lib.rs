//! mymalloc as Rust's global allocator.
//!
//! ```
//! #[global_allocator]
//! static HEAP: mymalloc::MyMalloc = mymalloc::MyMalloc;
//!
//! let words: Vec<String> = "one two".split(' ').map(String::from).collect();
//! assert_eq!(words.len(), 2);
//! ```
#![warn(missing_docs)]

use std::alloc::{GlobalAlloc, Layout};
use std::ffi::CStr;
use std::os::raw::{c_char, c_int, c_void};
use std::ptr;

/// The functions of `mymalloc.h` that this crate calls.
mod c {
    use super::*;

    extern "C" {
        pub fn MyMalloc(size: usize) -> *mut c_void;
        pub fn MyCalloc(count: usize, size: usize) -> *mut c_void;
        pub fn MyRealloc(ptr: *mut c_void, size: usize) -> *mut c_void;
        pub fn MyReallocAligned(ptr: *mut c_void, alignment: usize, size: usize) -> *mut c_void;
        pub fn MyAlignedAlloc(alignment: usize, size: usize) -> *mut c_void;
        pub fn MyFreeSized(ptr: *mut c_void, size: usize);
        pub fn MyFreeAlignedSized(ptr: *mut c_void, alignment: usize, size: usize);
        pub fn MyUsableSize(ptr: *const c_void) -> usize;
        pub fn MyTrim(pad: usize) -> c_int;
        pub fn MyVerify() -> usize;
        pub fn MyVersion() -> *const c_char;
        pub fn MyFrontend(why: *mut *const c_char) -> *const c_char;
    }
}

/// Every object has this alignment; more has to be asked for.
const ALIGNMENT: usize = 16;

/// The process's mymalloc heap. All values are the same heap: it has no state of its own.
///
/// Every function may be called by any thread; an object may be freed by another thread
/// than took it. A layout that is not the one an object was allocated with ends the program
/// with one line on standard error as soon as the heap's records show it.
#[derive(Clone, Copy, Debug, Default)]
pub struct MyMalloc;

// SAFETY: the C functions keep the contract of malloc, aligned_alloc, realloc and
// free_sized; they never unwind.
unsafe impl GlobalAlloc for MyMalloc {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.align() <= ALIGNMENT {
            c::MyMalloc(layout.size()).cast()
        } else {
            c::MyAlignedAlloc(layout.align(), layout.size()).cast()
        }
    }

    #[inline]
    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        if layout.align() <= ALIGNMENT {
            c::MyFreeSized(ptr.cast(), layout.size());
        } else {
            c::MyFreeAlignedSized(ptr.cast(), layout.align(), layout.size());
        }
    }

    /// Fresh pages of the kernel are not cleared again.
    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if layout.align() <= ALIGNMENT {
            return c::MyCalloc(1, layout.size()).cast();
        }
        let object = self.alloc(layout);
        if !object.is_null() {
            ptr::write_bytes(object, 0, layout.size());
        }
        object
    }

    /// In place where the heap can; what is made smaller is never refused.
    #[inline]
    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if layout.align() <= ALIGNMENT {
            c::MyRealloc(ptr.cast(), size).cast()
        } else {
            c::MyReallocAligned(ptr.cast(), layout.align(), size).cast()
        }
    }
}

/// A static string of the library.
fn text(string: *const c_char) -> &'static str {
    // SAFETY: MyVersion and MyFrontend return static, terminated strings.
    unsafe { CStr::from_ptr(string) }.to_str().unwrap_or("?")
}

impl MyMalloc {
    /// `"mymalloc 0.1.0"`.
    pub fn version() -> &'static str {
        text(unsafe { c::MyVersion() })
    }

    /// Which front end serves this process (`"rseq-mm_cid"`, `"rseq-cpu_id"` or `"tls"`),
    /// and the reason.
    pub fn front_end() -> (&'static str, &'static str) {
        let mut why = ptr::null();
        let name = unsafe { c::MyFrontend(&mut why) };
        (text(name), text(why))
    }

    /// Bytes usable at the start of an object of this heap, at least what was asked for.
    ///
    /// # Safety
    /// `ptr` is null or an object of this heap that was not freed.
    pub unsafe fn usable_size(ptr: *const u8) -> usize {
        c::MyUsableSize(ptr.cast())
    }

    /// Empty the caches and give free pages to the kernel except about `pad` bytes; true when
    /// any memory was given back.
    pub fn trim(pad: usize) -> bool {
        unsafe { c::MyTrim(pad) != 0 }
    }

    /// Walk the heap and check its invariants: the number of violations, each told in a line
    /// on standard error.
    pub fn verify() -> usize {
        unsafe { c::MyVerify() }
    }
}
