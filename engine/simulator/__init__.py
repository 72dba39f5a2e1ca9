"""A simulated PI Web API: a second, independent reading of the protocol that imports nothing of ours.

    async with Simulator(SimulatorOptions(tags=1000)).serve() as url:
        ...

The same options give the same events, always; `events` (of a forecast tag `forecast_events`) computes what a
tag holds without asking the server. Faults, and changes of history and of points, come as a `FaultPlan`, through the running
`Simulator` (`change`, `set_clock`; `truth` is what the archive then shows) or, from another process,
through the control routes of `control`.
"""

from __future__ import annotations

from .faults import FaultPlan, FaultPlanError
from .forecast import forecast_events
from .options import Basic, Bearer, SimulatorOptions
from .points import Point
from .roster import ChangeRefusedError
from .server import Simulator
from .signals import events, point
from .values import Event, State, Value

__all__ = [
    "Basic",
    "Bearer",
    "ChangeRefusedError",
    "Event",
    "FaultPlan",
    "FaultPlanError",
    "Point",
    "Simulator",
    "SimulatorOptions",
    "State",
    "Value",
    "events",
    "forecast_events",
    "point",
]
