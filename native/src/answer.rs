//! One pass over the bytes of an answer.
//!
//! Anything that is not of the strict shapes of `engine/piweb/wire.py` is handed back to Python untouched: a part of an
//! answer as the range of its bytes, and an answer that is no strict JSON, or is wrapped in another way, as a whole.

use std::collections::HashMap;
use std::ops::Range;

use jiter::{Jiter, JiterError, NumberAny, NumberInt, Peek};

use crate::columns::{Columns, FLAGS, Flags, Kind, Mark};
use crate::times;
use crate::usual::UsualEvents;

/// Why an answer is handed back as a whole. The reason does not matter: Python finds its own.
pub struct HandedBack;

impl From<JiterError> for HandedBack {
    fn from(_: JiterError) -> Self {
        HandedBack
    }
}

type Reading<T> = Result<T, HandedBack>;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    Batch,
    Streamset,
    Stream,
}

/// What a string is that a point of some type holds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum PointKind {
    Other,
    /// `NaN`, `Infinity` and `-Infinity` are numbers.
    Numeric,
    Time,
}

/// What an answer holds for one ask.
#[derive(Clone, Default)]
pub enum Part {
    #[default]
    Absent,
    Plain { events: Range<Mark>, units: Option<String> },
    /// The bytes of this part are for Python to read.
    Odd(Range<usize>),
}

pub struct Answer {
    pub parts: Vec<Part>,
    pub columns: Columns,
}

/// Bytes of JSON that one event takes at least: so many columns entries are set aside at first.
const LEAST_EVENT_BYTES: usize = 64;
/// From here on a double may not hold a whole number.
const EXACT_BELOW: u64 = 1 << 53;

/// Read an answer. `keys`: of each ask, the key under which its part is.
pub fn read(body: &[u8], shape: Shape, keys: &[&str], points: &[PointKind]) -> Reading<Answer> {
    let mut reader = Reader {
        body,
        base: 0,
        json: json_from(body),
        usual: UsualEvents::new(body),
        columns: Columns::with_capacity(body.len() / LEAST_EVENT_BYTES / 2),
        parts: vec![Part::default(); keys.len()],
        points,
        index: Index::new(keys)?,
    };
    match shape {
        Shape::Batch => reader.batch()?,
        Shape::Streamset => reader.streamset()?,
        Shape::Stream => reader.single()?,
    }
    reader.json.finish()?;
    Ok(Answer { parts: reader.parts, columns: reader.columns })
}

/// Servers write `NaN`, `Infinity` and `-Infinity` bare.
fn json_from(body: &[u8]) -> Jiter<'_> {
    Jiter::new(body).with_allow_inf_nan()
}

/// Finds asks by key. Mostly parts come in the order of the asks.
struct Index<'k> {
    keys: &'k [&'k str],
    places: HashMap<&'k str, usize>,
    next: usize,
}

impl<'k> Index<'k> {
    fn new(keys: &'k [&'k str]) -> Reading<Self> {
        let places: HashMap<_, _> = keys.iter().enumerate().map(|(place, key)| (*key, place)).collect();
        if places.len() < keys.len() { Err(HandedBack) } else { Ok(Index { keys, places, next: 0 }) }
    }

    fn find(&mut self, key: &str) -> Reading<usize> {
        let found = match self.keys.get(self.next) {
            Some(expected) if *expected == key => self.next,
            _ => *self.places.get(key).ok_or(HandedBack)?,
        };
        self.next = found + 1;
        Ok(found)
    }
}

/// One stream: where its events are, if they are all plain.
struct Stream {
    web_id: Option<String>,
    units: Option<String>,
    has_items: bool,
    plain: bool,
}

struct Reader<'a> {
    body: &'a [u8],
    /// Where the bytes of `json` begin in the body.
    base: usize,
    json: Jiter<'a>,
    usual: UsualEvents<'a>,
    columns: Columns,
    parts: Vec<Part>,
    points: &'a [PointKind],
    index: Index<'a>,
}

impl Reader<'_> {
    /// Where in the body the reading is.
    fn at(&self) -> usize {
        self.base + self.json.current_index()
    }

    /// Go on at a place in the body: between two values, or after one.
    fn go_to(&mut self, at: usize) {
        self.base = at;
        self.json = json_from(self.body.get(at..).unwrap_or_default());
    }

    fn batch(&mut self) -> Reading<()> {
        let mut key = self.json.next_object()?.map(|key| self.index.find(key)).transpose()?;
        while let Some(n) = key {
            let part = self.sub_response(n)?;
            self.put(n, part)?;
            key = self.json.next_key()?.map(|key| self.index.find(key)).transpose()?;
        }
        Ok(())
    }

    fn put(&mut self, n: usize, part: Part) -> Reading<()> {
        match self.parts[n] {
            Part::Absent => self.parts[n] = part,
            _ => return Err(HandedBack), // the same key twice
        }
        Ok(())
    }

    fn sub_response(&mut self, n: usize) -> Reading<Part> {
        self.json.peek()?;
        let first = self.at();
        let before = self.columns.mark();
        let mut status = None;
        let mut stream = None;
        let mut seen = Seen::default();
        let mut field = self.json.next_object()?.map(SubField::of);
        while let Some(name) = field {
            let peek = self.json.peek()?;
            match name {
                SubField::Status => {
                    seen.once(0)?;
                    status = Some(self.json.next_int()?);
                }
                SubField::Content => {
                    seen.once(1)?;
                    match peek {
                        Peek::Object if is_success(status.as_ref()) => stream = Some(self.stream(self.points[n])?),
                        _ => self.json.known_skip(peek)?,
                    }
                }
                SubField::Other => self.json.known_skip(peek)?,
            }
            field = self.json.next_key()?.map(SubField::of);
        }
        let status = status.ok_or(HandedBack)?;
        match stream {
            Some(Stream { plain: true, has_items: true, units, .. }) if is_success(Some(&status)) => {
                Ok(Part::Plain { events: before..self.columns.mark(), units })
            }
            _ => {
                self.columns.back_to(before);
                Ok(Part::Odd(first..self.at()))
            }
        }
    }

    fn streamset(&mut self) -> Reading<()> {
        let mut seen = Seen::default();
        let mut key = self.json.next_object()?.map(SetField::of);
        let mut found = false;
        while let Some(name) = key {
            match name {
                SetField::Items => {
                    seen.once(0)?;
                    found = true;
                    let mut item = self.json.next_array()?;
                    while let Some(peek) = item {
                        if peek != Peek::Object {
                            return Err(HandedBack);
                        }
                        self.item()?;
                        item = self.json.array_step()?;
                    }
                }
                SetField::WebException => self.json.next_null()?,
                SetField::Other => self.json.next_skip()?,
            }
            key = self.json.next_key()?.map(SetField::of);
        }
        if found { Ok(()) } else { Err(HandedBack) }
    }

    fn item(&mut self) -> Reading<()> {
        let first = self.at();
        let before = self.columns.mark();
        // The WebID may stand after the values: most come in the order of the asks.
        let expected = self.points.get(self.index.next).copied().unwrap_or(PointKind::Other);
        let stream = self.stream(expected)?;
        let n = self.index.find(stream.web_id.as_deref().ok_or(HandedBack)?)?;
        let part = if stream.plain && stream.has_items && self.points[n] == expected {
            Part::Plain { events: before..self.columns.mark(), units: stream.units }
        } else {
            self.columns.back_to(before);
            Part::Odd(first..self.at())
        };
        self.put(n, part)
    }

    fn single(&mut self) -> Reading<()> {
        if self.parts.len() != 1 || self.json.peek()? != Peek::Object {
            return Err(HandedBack);
        }
        let before = self.columns.mark();
        match self.stream(self.points[0])? {
            Stream { plain: true, has_items: true, units, .. } => {
                self.put(0, Part::Plain { events: before..self.columns.mark(), units })
            }
            _ => Err(HandedBack),
        }
    }

    fn stream(&mut self, point: PointKind) -> Reading<Stream> {
        let mut stream = Stream { web_id: None, units: None, has_items: false, plain: true };
        let mut seen = Seen::default();
        let mut key = self.json.next_object()?.map(StreamField::of);
        while let Some(name) = key {
            let peek = self.json.peek()?;
            match name {
                StreamField::Items => {
                    seen.once(0)?;
                    stream.has_items = peek == Peek::Array;
                    if stream.has_items {
                        stream.plain &= self.events(point)?;
                    } else {
                        self.json.known_skip(peek)?;
                    }
                }
                StreamField::Units => {
                    seen.once(1)?;
                    stream.units = self.text_or_null(peek, &mut stream.plain)?;
                }
                StreamField::WebId => {
                    seen.once(2)?;
                    stream.plain &= peek == Peek::String;
                    stream.web_id = self.text_or_null(peek, &mut stream.plain)?;
                }
                StreamField::WebException => stream.plain &= self.is_null(peek)?,
                StreamField::Errors => stream.plain &= self.is_null_or_empty(peek)?,
                StreamField::Other => self.json.known_skip(peek)?,
            }
            key = self.json.next_key()?.map(StreamField::of);
        }
        Ok(stream)
    }

    /// All events of a stream. Returns whether they are plain; if not, the columns hold some of them.
    fn events(&mut self, point: PointKind) -> Reading<bool> {
        let mut plain = true;
        let mut item = self.json.known_array()?;
        while let Some(peek) = item {
            if plain && peek == Peek::Object {
                plain = self.usual_events(point) || self.event(point)?;
            } else {
                plain = false;
                self.json.known_skip(peek)?;
            }
            item = self.json.array_step()?;
        }
        Ok(plain)
    }

    /// Read as many usual events as there are from here on. Returns whether there is one.
    fn usual_events(&mut self, point: PointKind) -> bool {
        let first = self.at();
        let mut next = first;
        let mut end = first;
        while let Some(after) = self.usual.event(next, point, &mut self.columns) {
            end = after;
            if self.body.get(end) != Some(&b',') {
                break;
            }
            next = end + 1;
        }
        if end > first {
            self.go_to(end);
        }
        end > first
    }

    /// One event. Returns whether it is plain; if not, the columns may hold half of it.
    fn event(&mut self, point: PointKind) -> Reading<bool> {
        let mut plain = true;
        let mut ticks = None;
        let mut has_value = false;
        let mut flags = Flags::default();
        let mut seen = Seen::default();
        let mut key = self.json.next_object()?.map(EventField::of);
        while let Some(name) = key {
            let peek = self.json.peek()?;
            match name {
                EventField::Timestamp => {
                    seen.once(FLAGS)?;
                    if peek == Peek::String {
                        ticks = times::ticks(self.json.known_str()?.as_bytes());
                    } else {
                        self.json.known_skip(peek)?;
                    }
                }
                EventField::Value => {
                    seen.once(FLAGS + 1)?;
                    has_value = true;
                    plain &= self.value(peek, point)?;
                }
                EventField::Flag(flag) => {
                    seen.once(flag)?;
                    match peek {
                        Peek::True | Peek::False => flags.set(flag, self.json.known_bool(peek)?),
                        _ => plain &= self.is_null(peek)?,
                    }
                }
                EventField::Failure => plain &= self.is_null(peek)?,
                EventField::Other => self.json.known_skip(peek)?,
            }
            key = self.json.next_key()?.map(EventField::of);
        }
        match ticks {
            Some(ticks) if plain => {
                if !has_value {
                    self.columns.null();
                }
                self.columns.end_event(ticks, flags);
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// Put a value into the columns. Returns false where it is not of the usual kinds.
    fn value(&mut self, peek: Peek, point: PointKind) -> Reading<bool> {
        match peek {
            Peek::String => {
                let text = self.json.known_str()?;
                match (point, spelled_number(text)) {
                    (PointKind::Numeric, Some(number)) => self.columns.number(number),
                    (PointKind::Time, _) => self.columns.text(Kind::Timestamp, text),
                    _ => self.columns.text(Kind::Text, text),
                }
            }
            Peek::Object => return self.state(),
            Peek::Null => {
                self.json.known_null()?;
                self.columns.null();
            }
            Peek::True | Peek::False => {
                let text = if self.json.known_bool(peek)? { "true" } else { "false" };
                self.columns.text(Kind::Boolean, text);
            }
            Peek::Array => {
                self.json.known_skip(peek)?;
                return Ok(false);
            }
            _ => match self.number(peek)? {
                (NumberAny::Float(number), is_bare) if number.is_finite() || is_bare => self.columns.number(number),
                (NumberAny::Int(NumberInt::Int(whole)), _) if whole.unsigned_abs() < EXACT_BELOW => {
                    self.columns.number(whole as f64);
                }
                _ => return Ok(false),
            },
        }
        Ok(true)
    }

    /// A number, and whether it is one that JSON does not know. What is too large for a double is infinite, too.
    fn number(&mut self, peek: Peek) -> Reading<(NumberAny, bool)> {
        let first = self.at();
        let number = self.json.known_number(peek)?;
        let written = self.body.get(first..self.at()).unwrap_or_default();
        Ok((number, matches!(written, b"NaN" | b"Infinity" | b"-Infinity")))
    }

    fn state(&mut self) -> Reading<bool> {
        let mut name: Option<String> = None;
        let mut code = None;
        let mut system = false;
        let mut plain = true;
        let mut seen = Seen::default();
        let mut key = self.json.next_object()?.map(StateField::of);
        while let Some(field) = key {
            let peek = self.json.peek()?;
            match field {
                StateField::Name if peek == Peek::String => {
                    seen.once(0)?;
                    name = Some(self.json.known_str()?.to_owned());
                }
                StateField::Value if peek.is_num() => {
                    seen.once(1)?;
                    match self.json.known_number(peek)? {
                        NumberAny::Int(NumberInt::Int(whole)) => code = i32::try_from(whole).ok(),
                        _ => plain = false,
                    }
                }
                StateField::IsSystem if matches!(peek, Peek::True | Peek::False) => {
                    seen.once(2)?;
                    system = self.json.known_bool(peek)?;
                }
                StateField::Errors => plain &= self.is_null(peek)?,
                StateField::Other => self.json.known_skip(peek)?,
                _ => {
                    plain = false;
                    self.json.known_skip(peek)?;
                }
            }
            key = self.json.next_key()?.map(StateField::of);
        }
        match (name, code) {
            (Some(name), Some(code)) if plain => {
                let kind = if system { Kind::System } else { Kind::Digital };
                self.columns.state(kind, &name, code);
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    fn text_or_null(&mut self, peek: Peek, plain: &mut bool) -> Reading<Option<String>> {
        if peek == Peek::String {
            return Ok(Some(self.json.known_str()?.to_owned()));
        }
        *plain &= self.is_null(peek)?;
        Ok(None)
    }

    fn is_null(&mut self, peek: Peek) -> Reading<bool> {
        self.json.known_skip(peek)?;
        Ok(peek == Peek::Null)
    }

    fn is_null_or_empty(&mut self, peek: Peek) -> Reading<bool> {
        let first = self.at();
        self.json.known_skip(peek)?;
        Ok(peek == Peek::Null || self.body.get(first..self.at()) == Some(b"[]"))
    }
}

fn is_success(status: Option<&NumberInt>) -> bool {
    matches!(status, Some(NumberInt::Int(200..=299)))
}

pub fn spelled_number(text: &str) -> Option<f64> {
    match text {
        "NaN" => Some(f64::NAN),
        "Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        _ => None,
    }
}

/// Fields that an object has had already. Of two that are alike, parsers disagree which one counts.
#[derive(Default)]
struct Seen(u8);

impl Seen {
    fn once(&mut self, field: usize) -> Reading<()> {
        let bit = 1 << field;
        let before = self.0;
        self.0 |= bit;
        if before & bit == 0 { Ok(()) } else { Err(HandedBack) }
    }
}

enum SubField {
    Status,
    Content,
    Other,
}

impl SubField {
    fn of(name: &str) -> Self {
        match name {
            "Status" => SubField::Status,
            "Content" => SubField::Content,
            _ => SubField::Other,
        }
    }
}

enum SetField {
    Items,
    WebException,
    Other,
}

impl SetField {
    fn of(name: &str) -> Self {
        match name {
            "Items" => SetField::Items,
            "WebException" => SetField::WebException,
            _ => SetField::Other,
        }
    }
}

enum StreamField {
    Items,
    Units,
    WebId,
    WebException,
    Errors,
    Other,
}

impl StreamField {
    fn of(name: &str) -> Self {
        match name {
            "Items" => StreamField::Items,
            "UnitsAbbreviation" => StreamField::Units,
            "WebId" => StreamField::WebId,
            "WebException" => StreamField::WebException,
            "Errors" => StreamField::Errors,
            _ => StreamField::Other,
        }
    }
}

enum EventField {
    Timestamp,
    Value,
    Flag(usize),
    Failure,
    Other,
}

impl EventField {
    fn of(name: &str) -> Self {
        match name {
            "Timestamp" => EventField::Timestamp,
            "Value" => EventField::Value,
            "Good" => EventField::Flag(0),
            "Questionable" => EventField::Flag(1),
            "Substituted" => EventField::Flag(2),
            "Annotated" => EventField::Flag(3),
            "Errors" | "WebException" => EventField::Failure,
            _ => EventField::Other,
        }
    }
}

enum StateField {
    Name,
    Value,
    IsSystem,
    Errors,
    Other,
}

impl StateField {
    fn of(name: &str) -> Self {
        match name {
            "Name" => StateField::Name,
            "Value" => StateField::Value,
            "IsSystem" => StateField::IsSystem,
            "Errors" => StateField::Errors,
            _ => StateField::Other,
        }
    }
}
