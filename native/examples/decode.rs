//! Reads one batch answer a number of times, for tools that count instructions: `decode FILE ASKS TIMES`.

use std::hint::black_box;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [file, asks, times] = &arguments[..] else { panic!("usage: decode FILE ASKS TIMES") };
    let body = std::fs::read(file).expect("the answer can be read");
    let [asks, times] = [asks, times].map(|number| number.parse::<usize>().expect("a whole number"));
    let mut events = 0;
    for _ in 0..times {
        events = osipi_native::events_in_batch(black_box(&body), asks).expect("an answer of the usual shape");
    }
    println!("{events}");
}
