"""A simulated PI Web API: a second implementation of the protocol, independent of the connector.

    async with Simulator(SimulatorOptions(tags=1000)).serve() as url:
        ...

The same options always give the same events. `events`, or `forecast_events` for a forecast tag, computes the events of
a tag without asking the server. Faults, and changes of history and of points, come from a `FaultPlan`, from methods of
the running `Simulator` (`change`, `set_clock`; `truth` shows the events after that), or, from another process, through
the routes of `routes.control`.
"""

from __future__ import annotations

from .archive.forecast import forecast_events
from .archive.point_registry import ChangeRefusedError
from .archive.points import Point, point
from .archive.signals import events
from .archive.values import DigitalState, Event, Value
from .faults.plan import FaultPlan, FaultPlanError
from .options import BasicLogin, BearerLogin, SimulatorOptions
from .server import Simulator
