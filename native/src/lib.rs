//! Decodes answers of PI Web API: one pass from bytes to the buffers of Arrow arrays, without the interpreter lock.
//!
//! What is not certain is handed back to Python, which holds the reference (`engine/piweb/decode.py`).

mod answer;
mod columns;
mod times;
mod usual;

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedStr;
use pyo3::types::PyBytes;

use answer::{Answer, Part, PointKind, Shape};
use columns::{Bits, Buffers};

/// An answer, read. Buffers are those of Arrow arrays over all plain events, in the order of the asks; a validity is None
/// where every entry is valid.
#[pyclass(frozen, get_all)]
struct ReadAnswer {
    /// How many events each ask has; -1: its part is not there, -2: it is handed back.
    counts: Vec<i64>,
    /// The units that each plain part names.
    units: Vec<Option<String>>,
    /// By ask, the bytes `[first, end)` of each part that is handed back.
    odd: Vec<(usize, usize, usize)>,
    events: usize,
    ticks: Py<PyBytes>,
    values: Py<PyBytes>,
    values_valid: Option<Py<PyBytes>>,
    text: Py<PyBytes>,
    text_offsets: Py<PyBytes>,
    text_valid: Option<Py<PyBytes>>,
    codes: Py<PyBytes>,
    codes_valid: Option<Py<PyBytes>>,
    kinds: Py<PyBytes>,
    /// Good, questionable, substituted, annotated: bits, and their validity.
    flags: Vec<(Py<PyBytes>, Option<Py<PyBytes>>)>,
}

/// Read an answer of a shape (batch, streamset, stream). `keys`: where the part of each ask is; `points`: of each ask, what
/// a string of its point is (0 text, 1 text or a spelled number, 2 a time).
///
/// None: the answer is to be decoded by Python. Raises ValueError for a shape that is not known.
#[pyfunction]
fn read_answer(
    py: Python<'_>,
    body: &[u8],
    shape: &str,
    keys: Vec<PyBackedStr>,
    points: &[u8],
) -> PyResult<Option<ReadAnswer>> {
    let shape = match shape {
        "batch" => Shape::Batch,
        "streamset" => Shape::Streamset,
        "stream" => Shape::Stream,
        _ => return Err(PyValueError::new_err("no such shape of an answer")),
    };
    if points.len() != keys.len() {
        return Err(PyValueError::new_err("one kind of point for each key"));
    }
    let keys: Vec<&str> = keys.iter().map(|key| &**key).collect();
    let points: Vec<PointKind> = points.iter().map(|code| point_kind(*code)).collect();
    // A bug of ours is no reason to end a run: Python decodes the answer then.
    let read = py.detach(|| catch_unwind(AssertUnwindSafe(|| read_and_pack(body, shape, &keys, &points))).ok().flatten());
    Ok(read.map(|(answer, buffers)| ReadAnswer::new(py, &answer, &buffers)))
}

fn point_kind(code: u8) -> PointKind {
    match code {
        1 => PointKind::Numeric,
        2 => PointKind::Time,
        _ => PointKind::Other,
    }
}

fn read_and_pack(body: &[u8], shape: Shape, keys: &[&str], points: &[PointKind]) -> Option<(Answer, Buffers)> {
    let answer = answer::read(body, shape, keys, points).ok()?;
    let ranges: Vec<Range<_>> = answer
        .parts
        .iter()
        .filter_map(|part| match part {
            Part::Plain { events, .. } => Some(events.clone()),
            _ => None,
        })
        .collect();
    let buffers = answer.columns.buffers(&ranges)?;
    Some((answer, buffers))
}

/// Read a batch answer for so many numeric points, and pack it. Returns the number of plain events: for measuring.
pub fn events_in_batch(body: &[u8], asks: usize) -> Option<usize> {
    let keys: Vec<String> = (0..asks).map(|number| number.to_string()).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    read_and_pack(body, Shape::Batch, &keys, &vec![PointKind::Numeric; asks]).map(|(_, buffers)| buffers.events)
}

impl ReadAnswer {
    fn new(py: Python<'_>, answer: &Answer, made: &Buffers) -> Self {
        let bytes = |bytes: &[u8]| PyBytes::new(py, bytes).unbind();
        let validity = |bits: &Bits| bits.validity().map(bytes);
        let odd = answer.parts.iter().enumerate().filter_map(|(n, part)| match part {
            Part::Odd(range) => Some((n, range.start, range.end)),
            _ => None,
        });
        let units = answer.parts.iter().map(|part| match part {
            Part::Plain { units, .. } => units.clone(),
            _ => None,
        });
        let counts = answer.parts.iter().map(|part| match part {
            Part::Plain { events, .. } => (events.end.events - events.start.events) as i64,
            Part::Absent => -1,
            Part::Odd(_) => -2,
        });
        ReadAnswer {
            counts: counts.collect(),
            units: units.collect(),
            odd: odd.collect(),
            events: made.events,
            ticks: bytes(bytemuck::cast_slice(&made.ticks)),
            values: bytes(bytemuck::cast_slice(&made.values)),
            values_valid: validity(&made.has_value),
            text: bytes(&made.text),
            text_offsets: bytes(bytemuck::cast_slice(&made.text_offsets)),
            text_valid: validity(&made.has_text),
            codes: bytes(bytemuck::cast_slice(&made.codes)),
            codes_valid: validity(&made.has_code),
            kinds: bytes(bytemuck::cast_slice(&made.kinds)),
            flags: made.flags.iter().map(|(sent, set)| (bytes(set.bytes()), validity(sent))).collect(),
        }
    }
}

/// The native part of osipi-connector.
#[pymodule]
fn osipi_native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_class::<ReadAnswer>()?;
    module.add_function(wrap_pyfunction!(read_answer, module)?)
}
