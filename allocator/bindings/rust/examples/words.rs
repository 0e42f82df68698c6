//! Counts the words of standard input on a mymalloc heap, and tells whose heap it was.

use std::collections::HashMap;
use std::io::{self, Read};

#[global_allocator]
static HEAP: mymalloc::MyMalloc = mymalloc::MyMalloc;

fn main() -> io::Result<()> {
    let mut text = String::new();
    let mut count: HashMap<&str, usize> = HashMap::new();

    io::stdin().read_to_string(&mut text)?;
    for word in text.split_whitespace() {
        *count.entry(word).or_default() += 1;
    }
    let mut words: Vec<_> = count.into_iter().collect();
    words.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    for (word, times) in words.iter().take(10) {
        println!("{times:6} {word}");
    }
    let (front_end, why) = mymalloc::MyMalloc::front_end();
    println!("{}, front end {front_end} ({why})", mymalloc::MyMalloc::version());
    Ok(())
}
