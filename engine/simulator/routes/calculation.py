"""The route of expressions at given times: `calculation/times`.

An expression is one of numbers, of tags in single quotes, of `+ - * /` and parentheses. All tags are of the one data server.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Mapping, Sequence

from ..archive.sampling import no_data, number_of, value_at
from ..archive.values import SYSTEM_STATES, DigitalState, Event
from ..render import event_object
from ..replies import Reply, refused
from ..request import IncomingRequest
from ..site import Site
from .streams import instants_asked

_TAG = re.compile(r"'([^']*)'")
_BINARY: Mapping[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


def _times(site: Site, request: IncomingRequest) -> Reply:
    expression = request.query.one("expression")
    if not expression:
        raise refused(400, "The expression parameter is required.")
    names = [name.rpartition("\\")[2] for name in _TAG.findall(expression)]
    numbers = iter(range(len(names)))
    try:
        tree = ast.parse(_TAG.sub(lambda _tag: f"_{next(numbers)}", expression).strip(), mode="eval").body
    except SyntaxError as error:
        raise refused(400, f"Syntax error in expression '{expression}'.") from error
    found = [site.registry.find(name) for name in names]
    for name, index in zip(names, found, strict=True):
        if index is None:
            raise refused(400, f"PI Point not found '{name}'.")
    indices = [index for index in found if index is not None]
    items = [
        _at(request, tree, [value_at(site, index, ticks, request.now) for index in indices], ticks)
        for ticks in instants_asked(site, request)
    ]
    body = {"Links": {}, "Items": [event_object(item, site.switches.nan) for item in items], "UnitsAbbreviation": ""}
    return request.answer(body)


def _at(request: IncomingRequest, tree: ast.expr, events: Sequence[Event], ticks: int) -> Event:
    if isinstance(tree, ast.Name) and len(events) == 1:
        return events[0]
    if ticks > request.now:
        return no_data(ticks)
    try:
        return Event(ticks, _evaluated(tree, [number_of(event) for event in events], request.query.one("expression")))
    except ArithmeticError:
        state = DigitalState("Calc Failed", SYSTEM_STATES["Calc Failed"], is_system=True)
        return Event(ticks, state, good=False)


def _evaluated(tree: ast.expr, numbers: list[float | None], expression: str) -> float:
    """Raises `ArithmeticError` where a tag has no number, and a 400 for what is no arithmetic."""
    match tree:
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            return float(number)
        case ast.Name(id=name) if name.startswith("_"):
            value = numbers[int(name[1:])]
            if value is None:
                raise ArithmeticError
            return value
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_evaluated(operand, numbers, expression)
        case ast.BinOp(left=left, op=operation, right=right) if type(operation) in _BINARY:
            both = _evaluated(left, numbers, expression), _evaluated(right, numbers, expression)
            return _BINARY[type(operation)](*both)
    raise refused(400, f"Syntax error in expression '{expression}'.")


ROUTES = {"calculation/times": _times}
