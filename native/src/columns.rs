//! Events as columns, and the buffers of Arrow arrays made of them.
//!
//! An event is a number, or one of the few other kinds, whose texts and codes are kept beside. So the usual event costs
//! four writes.

use std::ops::Range;

/// What a value is: the codes of the column value_kind (`KINDS` in `engine/piweb/values.py`).
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    Number = 0,
    Text = 1,
    Digital = 2,
    System = 3,
    Boolean = 4,
    Timestamp = 5,
    Null = 8,
}

impl Kind {
    fn has_value(self) -> bool {
        self == Kind::Number
    }

    fn has_text(self) -> bool {
        !matches!(self, Kind::Number | Kind::Null)
    }

    fn has_code(self) -> bool {
        matches!(self, Kind::Digital | Kind::System)
    }
}

/// Good, questionable, substituted, annotated: two bits each, of which one says that the flag was sent.
#[derive(Clone, Copy, Default)]
pub struct Flags(u8);

pub const FLAGS: usize = 4;

impl Flags {
    pub fn set(&mut self, flag: usize, value: bool) {
        self.0 |= (2 | u8::from(value)) << (2 * flag);
    }

    fn is_sent(self, flag: usize) -> bool {
        self.0 >> (2 * flag) & 2 != 0
    }

    fn is_true(self, flag: usize) -> bool {
        self.0 >> (2 * flag) & 1 != 0
    }
}

#[derive(Default)]
pub struct Columns {
    ticks: Vec<i64>,
    values: Vec<f64>,
    kinds: Vec<Kind>,
    flags: Vec<Flags>,
    // Of those events that have them, in order.
    text: Vec<u8>,
    text_lengths: Vec<usize>,
    codes: Vec<i32>,
}

/// A place between two events.
#[derive(Clone, Copy, Default)]
pub struct Mark {
    pub events: usize,
    text: usize,
    texts: usize,
    codes: usize,
}

impl Columns {
    pub fn with_capacity(events: usize) -> Self {
        Columns {
            ticks: Vec::with_capacity(events),
            values: Vec::with_capacity(events),
            kinds: Vec::with_capacity(events),
            flags: Vec::with_capacity(events),
            ..Columns::default()
        }
    }

    pub fn mark(&self) -> Mark {
        Mark {
            events: self.ticks.len(),
            text: self.text.len(),
            texts: self.text_lengths.len(),
            codes: self.codes.len(),
        }
    }

    /// Forget everything after a mark.
    pub fn back_to(&mut self, mark: Mark) {
        self.ticks.truncate(mark.events);
        self.values.truncate(mark.events);
        self.kinds.truncate(mark.events);
        self.flags.truncate(mark.events);
        self.text.truncate(mark.text);
        self.text_lengths.truncate(mark.texts);
        self.codes.truncate(mark.codes);
    }

    pub fn number(&mut self, value: f64) {
        self.values.push(value);
        self.kinds.push(Kind::Number);
    }

    pub fn text(&mut self, kind: Kind, text: &str) {
        self.values.push(0.0);
        self.kinds.push(kind);
        self.text.extend_from_slice(text.as_bytes());
        self.text_lengths.push(text.len());
    }

    pub fn state(&mut self, kind: Kind, name: &str, code: i32) {
        self.text(kind, name);
        self.codes.push(code);
    }

    pub fn null(&mut self) {
        self.values.push(0.0);
        self.kinds.push(Kind::Null);
    }

    /// Ends an event, after its value.
    pub fn end_event(&mut self, ticks: i64, flags: Flags) {
        self.ticks.push(ticks);
        self.flags.push(flags);
    }

    /// The Arrow buffers of the events in these ranges, one after the other. `None` if the texts do not fit into an array.
    pub fn buffers(&self, ranges: &[Range<Mark>]) -> Option<Buffers> {
        let gather = |from: fn(Mark) -> usize| ranges.iter().map(move |range| from(range.start)..from(range.end));
        let events = || gather(|mark| mark.events);
        let kinds: Vec<Kind> = gathered(&self.kinds, events());
        let flags: Vec<Flags> = gathered(&self.flags, events());
        let lengths = gathered(&self.text_lengths, gather(|mark| mark.texts));
        let codes = gathered(&self.codes, gather(|mark| mark.codes));
        Some(Buffers {
            events: kinds.len(),
            ticks: gathered(&self.ticks, events()),
            values: gathered(&self.values, events()),
            has_value: Bits::of(&kinds, |kind| kind.has_value()),
            text: gathered(&self.text, gather(|mark| mark.text)),
            text_offsets: text_offsets(&kinds, &lengths)?,
            has_text: Bits::of(&kinds, |kind| kind.has_text()),
            codes: spread(&kinds, &codes),
            has_code: Bits::of(&kinds, |kind| kind.has_code()),
            flags: std::array::from_fn(|flag| {
                (Bits::of(&flags, |flags| flags.is_sent(flag)), Bits::of(&flags, |flags| flags.is_true(flag)))
            }),
            kinds: kinds.iter().map(|kind| *kind as i32).collect(),
        })
    }
}

fn gathered<T: Copy>(values: &[T], ranges: impl Iterator<Item = Range<usize>>) -> Vec<T> {
    let mut found = Vec::with_capacity(values.len());
    ranges.for_each(|range| found.extend_from_slice(&values[range]));
    found
}

/// Where the text of each event begins, and where the last one ends.
fn text_offsets(kinds: &[Kind], lengths: &[usize]) -> Option<Vec<i32>> {
    i32::try_from(lengths.iter().sum::<usize>()).ok()?;
    if lengths.is_empty() {
        return Some(vec![0; kinds.len() + 1]);
    }
    let mut lengths = lengths.iter();
    let mut end = 0;
    let ends = kinds.iter().map(|kind| {
        if kind.has_text() {
            end += lengths.next().copied().unwrap_or_default() as i32;
        }
        end
    });
    Some(std::iter::once(0).chain(ends).collect())
}

/// The code of each event; 0 where it has none.
fn spread(kinds: &[Kind], codes: &[i32]) -> Vec<i32> {
    if codes.is_empty() {
        return vec![0; kinds.len()];
    }
    let mut codes = codes.iter();
    kinds.iter().map(|kind| if kind.has_code() { codes.next().copied().unwrap_or_default() } else { 0 }).collect()
}

/// Buffers of Arrow arrays, in the byte order of the machine.
pub struct Buffers {
    pub events: usize,
    pub ticks: Vec<i64>,
    pub values: Vec<f64>,
    pub has_value: Bits,
    pub text: Vec<u8>,
    pub text_offsets: Vec<i32>,
    pub has_text: Bits,
    pub codes: Vec<i32>,
    pub has_code: Bits,
    pub kinds: Vec<i32>,
    /// Of each flag, where it was sent, and where it is true.
    pub flags: [(Bits, Bits); FLAGS],
}

/// A bitmap, the lowest bit first.
pub struct Bits {
    bytes: Vec<u8>,
    all: bool,
}

impl Bits {
    fn of<T: Copy>(entries: &[T], is_set: impl Fn(T) -> bool) -> Self {
        let byte = |eight: &[T]| eight.iter().rev().fold(0, |byte, entry| byte << 1 | u8::from(is_set(*entry)));
        let (eights, rest) = entries.as_chunks::<8>();
        let mut bytes: Vec<u8> = eights.iter().map(|eight| byte(eight)).collect();
        let all = bytes.iter().all(|byte| *byte == 0xFF) && rest.iter().all(|entry| is_set(*entry));
        if !rest.is_empty() {
            bytes.push(byte(rest));
        }
        Bits { bytes, all }
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Which entries of an array are valid. `None` where all are.
    pub fn validity(&self) -> Option<&[u8]> {
        (!self.all).then_some(&self.bytes)
    }
}
