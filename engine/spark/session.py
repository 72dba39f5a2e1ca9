"""The session of Spark that a run works in, and what it says when it gives up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from config.errors import ConfigurationError

from ..import_check import DISTRIBUTION
from ..telemetry.formats import one_line
from ..telemetry.report import RunFailedError

_LONGEST_REASON = 300
R = TypeVar("R")


def spark_session() -> Any:
    """The session that this thread has, as in a notebook or a job of Databricks; else one is started, as Spark's own
    settings say (`SPARK_REMOTE`, `spark-submit`), on this machine without any.

    Raises `ConfigurationError` if there is no PySpark, `RunFailedError` if Spark does not start.
    """
    try:
        from pyspark.sql import SparkSession
    except ImportError:
        raise ConfigurationError(
            "--on spark needs PySpark, which is not installed here",
            hint="Install it: pip install 'osipi-connector[spark]'. Databricks has it already.",
        ) from None
    return answer_of(
        lambda: SparkSession.getActiveSession() or SparkSession.builder.appName(DISTRIBUTION).getOrCreate()
    )


def answer_of(call: Callable[[], R]) -> R:
    """What Spark answers. Raises `RunFailedError` where it gives up."""
    try:
        return call()
    except Exception as error:  # noqa: BLE001 - the classes depend on the kind of session
        failed = given_up(str(error))
    raise failed


def given_up(text: str) -> RunFailedError:
    """What Spark says, in a sentence. Its text has stack traces of Java and Python."""
    if "No module named" in text:
        return RunFailedError(
            "an executor of Spark lacks osipi-connector, or a package that it needs",
            hint="Install the wheel on the cluster, or in the environment of the session: the driver alone is not enough.",
        )
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    said = next(
        (line for line in lines if "Error: " in line or "Exception: " in line), lines[0] if lines else "nothing"
    )
    return RunFailedError(
        f"Spark gave the run up: {one_line(said)[:_LONGEST_REASON]}",
        hint="What was complete is in the tables; running again continues there. The logs of the executors say more.",
    )
