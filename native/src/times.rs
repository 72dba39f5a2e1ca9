//! Times as PI writes nearly all of them: `2024-03-05T10:15:30.1234567Z`.

/// Years that 64 bits of nanoseconds reach from end to end. Other years are read by Python.
const YEARS: std::ops::RangeInclusive<i64> = 1678..=2261;
pub const TICKS_PER_SECOND: i64 = 10_000_000;

/// Whole ticks of 100 ns since 1970 UTC. `None` for any other way to write a time, and for what is none.
pub fn ticks(text: &[u8]) -> Option<i64> {
    let (clock, rest) = text.split_at_checked(19)?;
    let separators = [clock[4], clock[7], clock[10], clock[13], clock[16]];
    if separators != *b"--T::" {
        return None;
    }
    let year = number(&clock[..4])?;
    let month = number(&clock[5..7])?;
    let day = number(&clock[8..10])?;
    let hour = number(&clock[11..13])?;
    let minute = number(&clock[14..16])?;
    let second = number(&clock[17..])?;
    let in_range = YEARS.contains(&year)
        && (1..=12).contains(&month)
        && (1..=days_in(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    if !in_range {
        return None;
    }
    let seconds = ((days_before(year, month) + day - 1) * 24 + hour) * 3600 + minute * 60 + second;
    Some(seconds * TICKS_PER_SECOND + fraction(rest)?)
}

/// The ticks of `Z`, or of `.` and one to seven digits and `Z`.
#[inline]
pub fn fraction(text: &[u8]) -> Option<i64> {
    match text {
        b"Z" => Some(0),
        [b'.', digits @ .., b'Z'] if (1..=7).contains(&digits.len()) => {
            Some(number(digits)? * 10_i64.pow(7 - digits.len() as u32))
        }
        _ => None,
    }
}

fn number(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0, |sum, digit| {
        digit.is_ascii_digit().then(|| sum * 10 + i64::from(digit - b'0'))
    })
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 => 28 + i64::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970 to the first of a month.
fn days_before(year: i64, month: i64) -> i64 {
    const BEFORE_MONTH: [i64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    const BEFORE_1970: i64 = 719_162;
    let past = year - 1;
    let leap_day = i64::from(month > 2 && is_leap(year));
    past * 365 + past / 4 - past / 100 + past / 400 - BEFORE_1970 + BEFORE_MONTH[month as usize - 1] + leap_day
}

#[cfg(test)]
mod tests {
    use super::ticks;

    #[test]
    fn times_are_whole_ticks_since_1970() {
        assert_eq!(ticks(b"1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(ticks(b"1969-12-31T23:59:59.9999999Z"), Some(-1));
        assert_eq!(ticks(b"2024-02-29T12:00:00.5Z"), Some(17_092_080_005_000_000));
        assert_eq!(ticks(b"2000-03-01T00:00:00Z"), Some(9_518_688_000_000_000));
    }

    #[test]
    fn what_is_written_otherwise_is_left_to_python() {
        let others: [&[u8]; 10] = [
            b"",
            b"soon",
            b"2023-02-29T00:00:00Z",
            b"2024-01-01T24:00:00Z",
            b"2024-01-01T00:00:00",
            b"2024-01-01T00:00:00+01:00",
            b"2024-01-01 00:00:00Z",
            b"2024-01-01T00:00:00.Z",
            b"2024-01-01T00:00:00.12345678Z",
            b"9999-12-31T23:59:59Z",
        ];
        for text in others {
            assert_eq!(ticks(text), None);
        }
    }
}
