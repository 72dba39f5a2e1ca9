//! The usual event, read by position.
//!
//! Nearly all events of a server are written alike: the same fields in the same order, without white space. Those are read
//! here, several times as fast as value by value. Any other event is left to `answer`: `None` says so, and nothing is kept.

use crate::columns::{Columns, Flags, Kind};
use crate::answer::{PointKind, spelled_number};
use crate::times::{TICKS_PER_SECOND, fraction, ticks};

/// Fields of flags, in the order of the wire.
const FLAG_FIELDS: [&[u8]; 4] = [b",\"Good\":", b",\"Questionable\":", b",\"Substituted\":", b",\"Annotated\":"];
/// Whole numbers up to this one are doubles, and so are the powers of ten up to this one.
const EXACT: u64 = 1 << 53;
const POWERS_OF_TEN: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20,
    1e21, 1e22,
];
/// So many digits fit into 64 bits.
const MOST_DIGITS: usize = 19;

pub struct UsualEvents<'a> {
    body: &'a [u8],
    /// The last day that was read: `2024-03-05T`, and its midnight.
    day: &'a [u8],
    midnight: i64,
}

enum Value<'a> {
    Number(f64),
    Text(Kind, &'a str),
    State(Kind, &'a str, i32),
    Null,
}

impl<'a> UsualEvents<'a> {
    pub fn new(body: &'a [u8]) -> Self {
        UsualEvents { body, day: b"", midnight: 0 }
    }

    /// Read the event that begins at a place. Returns the place after it.
    #[inline]
    pub fn event(&mut self, at: usize, point: PointKind, columns: &mut Columns) -> Option<usize> {
        let at = self.skip(at, b"{\"Timestamp\":\"")?;
        let (ticks, at) = self.time(at)?;
        let at = self.skip(at, b",\"Value\":")?;
        let (value, mut at) = self.value(at, point)?;
        if let Some(units) = self.skip(at, b",\"UnitsAbbreviation\":\"") {
            at = self.text(units)?.1;
        }
        let mut flags = Flags::default();
        for (flag, field) in FLAG_FIELDS.into_iter().enumerate() {
            if self.body.get(at..)?.starts_with(field) {
                at += field.len();
                let set = self.body.get(at)? == &b't';
                at = if set { self.skip(at, b"true")? } else { self.skip(at, b"false")? };
                flags.set(flag, set);
            }
        }
        let at = self.skip(at, b"}")?;
        match value {
            Value::Number(number) => columns.number(number),
            Value::Text(kind, text) => columns.text(kind, text),
            Value::State(kind, name, code) => columns.state(kind, name, code),
            Value::Null => columns.null(),
        }
        columns.end_event(ticks, flags);
        Some(at)
    }

    #[inline]
    fn skip<const N: usize>(&self, at: usize, text: &[u8; N]) -> Option<usize> {
        (self.body.get(at..)?.first_chunk::<N>()? == text).then_some(at + N)
    }

    /// A time and the quote after it.
    #[inline]
    fn time(&mut self, at: usize) -> Option<(i64, usize)> {
        let rest = self.body.get(at..)?;
        let (clock, after) = rest.split_at_checked(19)?;
        // One to seven digits and the Z behind a point, or only the Z.
        let length = if after.first()? == &b'Z' { 1 } else { after.iter().take(10).position(|byte| *byte == b'"')? };
        let (zone, after) = after.split_at_checked(length)?;
        if after.first()? != &b'"' {
            return None;
        }
        if &clock[..11] != self.day {
            let midnight = ticks(&[&clock[..11], b"00:00:00Z"].concat())?;
            (self.day, self.midnight) = (&clock[..11], midnight);
        }
        let seconds = time_of_day(clock)?;
        Some((self.midnight + seconds * TICKS_PER_SECOND + fraction(zone)?, at + 19 + length + 1))
    }

    #[inline]
    fn value(&self, at: usize, point: PointKind) -> Option<(Value<'a>, usize)> {
        match self.body.get(at)? {
            b'-' | b'0'..=b'9' => number(self.body, at).map(|(number, at)| (Value::Number(number), at)),
            b'{' => self.state(at),
            b'"' => {
                let (text, at) = self.text(at + 1)?;
                let value = match (point, spelled_number(text)) {
                    (PointKind::Numeric, Some(number)) => Value::Number(number),
                    (PointKind::Time, _) => Value::Text(Kind::Timestamp, text),
                    _ => Value::Text(Kind::Text, text),
                };
                Some((value, at))
            }
            b'N' => Some((Value::Number(f64::NAN), self.skip(at, b"NaN")?)),
            b'n' => Some((Value::Null, self.skip(at, b"null")?)),
            _ => None,
        }
    }

    fn state(&self, at: usize) -> Option<(Value<'a>, usize)> {
        let at = self.skip(at, b"{\"Name\":\"")?;
        let (name, at) = self.text(at)?;
        let at = self.skip(at, b",\"Value\":")?;
        let (code, mut at) = whole_number(self.body, at)?;
        let mut kind = Kind::Digital;
        if let Some(value) = self.skip(at, b",\"IsSystem\":") {
            at = match self.skip(value, b"true") {
                Some(after) => {
                    kind = Kind::System;
                    after
                }
                None => self.skip(value, b"false")?,
            };
        }
        Some((Value::State(kind, name, code), self.skip(at, b"}")?))
    }

    /// A text without escapes, and the quote after it.
    #[inline]
    fn text(&self, at: usize) -> Option<(&'a str, usize)> {
        let rest = self.body.get(at..)?;
        let length = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1F))?;
        (rest[length] == b'"').then_some(())?;
        Some((std::str::from_utf8(&rest[..length]).ok()?, at + length + 1))
    }
}

/// Seconds since midnight of `2024-03-05T10:15:30`.
#[inline]
fn time_of_day(clock: &[u8]) -> Option<i64> {
    let digit = |at: usize| {
        let value = clock[at].wrapping_sub(b'0');
        (value < 10).then_some(i64::from(value))
    };
    let two = |at: usize| Some(digit(at)? * 10 + digit(at + 1)?);
    let (hour, minute, second) = (two(11)?, two(14)?, two(17)?);
    let well_formed = clock[13] == b':' && clock[16] == b':' && hour < 24 && minute < 60 && second < 60;
    well_formed.then_some(hour * 3600 + minute * 60 + second)
}

/// A number as JSON writes it. `None` for what is none, and for a whole number that a double may not hold.
#[inline]
fn number(body: &[u8], first: usize) -> Option<(f64, usize)> {
    let negative = body.get(first)? == &b'-';
    let start = first + usize::from(negative);
    let (mut digits, mut at) = digits_from(body, start, 0);
    let mut count = at - start;
    if count == 0 || (count > 1 && body.get(start)? == &b'0') {
        return None;
    }
    let mut power = 0_i32;
    let mut whole = true;
    if body.get(at) == Some(&b'.') {
        let point = at + 1;
        (digits, at) = digits_from(body, point, digits);
        if at == point {
            return None;
        }
        count += at - point;
        power = -i32::try_from(at - point).ok()?;
        whole = false;
    }
    if matches!(body.get(at), Some(b'e' | b'E')) {
        at = exponent_end(body, at + 1)?;
        whole = false;
        count = usize::MAX; // left to the standard library
    }
    let number = if count <= MOST_DIGITS && digits < EXACT && power >= -22 {
        let number = digits as f64 / POWERS_OF_TEN[power.unsigned_abs() as usize];
        if negative && !(whole && digits == 0) { -number } else { number }
    } else if whole {
        return None;
    } else {
        std::str::from_utf8(&body[first..at]).ok()?.parse().ok().filter(|number: &f64| number.is_finite())?
    };
    Some((number, at))
}

/// The digits from a place on, put behind others, and where they end. Of more than 19 the number means nothing.
#[inline]
fn digits_from(body: &[u8], mut at: usize, mut digits: u64) -> (u64, usize) {
    while let Some(digit) = body.get(at).map(|byte| byte.wrapping_sub(b'0')).filter(|digit| *digit < 10) {
        digits = digits.wrapping_mul(10).wrapping_add(u64::from(digit));
        at += 1;
    }
    (digits, at)
}

fn exponent_end(body: &[u8], at: usize) -> Option<usize> {
    let start = at + usize::from(matches!(body.get(at), Some(b'+' | b'-')));
    let (_, end) = digits_from(body, start, 0);
    (end > start).then_some(end)
}

/// A code of a state.
fn whole_number(body: &[u8], first: usize) -> Option<(i32, usize)> {
    let (number, at) = number(body, first)?;
    let code = number as i32;
    let is_whole = body[first..at].iter().all(|byte| matches!(byte, b'-' | b'0'..=b'9'));
    (is_whole && f64::from(code) == number).then_some((code, at))
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn numbers_are_those_of_the_standard_library() {
        let texts = [
            "0", "-0", "0.0", "-0.0", "1", "12.5", "-3.25", "23.450000762939453", "9007199254740991", "1e3", "1.5E-7", "123456789012345678.5",
            "0.00000000000000000000000001", "1e-400", "2.2250738585072014e-308",
        ];
        for text in texts {
            let (found, end) = number(text.as_bytes(), 0).unwrap();
            assert_eq!((found, end), (text.parse::<f64>().unwrap(), text.len()), "{text}");
        }
    }

    #[test]
    fn what_is_no_number_of_json_is_none() {
        for text in ["", "-", "01", "1.", "1.e5", "1e", "1e+", "9007199254740993", "12345678901234567890", "1e400"] {
            let found = number(text.as_bytes(), 0);
            assert!(found.is_none(), "{text}: {found:?}");
        }
    }
}
