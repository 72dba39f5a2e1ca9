"""Runs inside Spark's own environment: takes questions on standard input, a JSON object a line, answers on standard output.

Imports Spark and the standard library alone. Instants are told as microseconds since 1970, dates as days. Invariant:
one line in, one line out, whatever Spark, Java or a library prints.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, Row, SparkSession

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - Spark gives naive times; the process runs on UTC


class Driver:
    def __init__(self, spark: SparkSession) -> None:
        self._spark = spark

    def sql(self, text: str, conf: dict[str, str] | None = None) -> dict[str, Any]:
        """Run one statement, under these settings."""
        return self._under(conf, lambda: _told(self._spark.sql(text)))

    def scanned(self, text: str, conf: dict[str, str] | None = None) -> dict[str, Any]:
        """Run one query, and tell how many files it opened."""
        once = {**(conf or {}), "spark.sql.adaptive.enabled": "false"}

        def run() -> dict[str, Any]:
            frame = self._spark.sql(text)
            answer = _told(frame)
            leaves = frame._jdf.queryExecution().executedPlan().collectLeaves()
            read = (leaves.apply(i).metrics().get("numFiles") for i in range(leaves.size()))
            return {**answer, "files": sum(each.get().value() for each in read if each.isDefined())}

        return self._under(once, run)

    def stream(self, source: str, target: str, checkpoint: str, options: dict[str, str]) -> dict[str, Any]:
        """Append what a stream over a table gives by now to another table, and remember how far it came."""
        frame = self._spark.readStream.format("delta").options(**options).load(source)
        query = (
            frame.writeStream.format("delta")
            .option("checkpointLocation", checkpoint)
            .trigger(availableNow=True)
            .start(target)
        )
        query.awaitTermination()
        return {"columns": frame.columns, "rows": []}

    def _under(self, conf: dict[str, str] | None, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        before = {name: self._spark.conf.get(name, None) for name in conf or {}}
        for name, value in (conf or {}).items():
            self._spark.conf.set(name, value)
        try:
            return work()
        finally:
            for name, old in before.items():
                if old is None:
                    self._spark.conf.unset(name)
                else:
                    self._spark.conf.set(name, old)


def _words(error: Exception) -> str:
    """What went wrong and why, without the places in Java's code."""
    return "\n".join(line for line in str(error).splitlines() if not line.lstrip().startswith("at org."))


def _told(frame: DataFrame) -> dict[str, Any]:
    return {"columns": frame.columns, "rows": [[_plain(value) for value in row] for row in frame.collect()]}


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        since = value - _EPOCH
        return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
    if isinstance(value, date):
        return value.toordinal() - _EPOCH.toordinal()
    return str(value) if isinstance(value, Decimal | Row) else value


def started(jars: str, warehouse: str) -> SparkSession:
    settings = {
        "spark.jars": jars,
        "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
        "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
        "spark.sql.warehouse.dir": warehouse,
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.shuffle.partitions": "2",
        "spark.databricks.delta.snapshotPartitions": "2",
        "spark.sql.sources.parallelPartitionDiscovery.parallelism": "2",
        "spark.databricks.delta.retentionDurationCheck.enabled": "false",
        "spark.driver.memory": "1g",
        # For a Java machine that lives a minute: compile quickly rather than well.
        "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
        "spark.driver.host": "127.0.0.1",
        "spark.ui.enabled": "false",
        "spark.log.level": "ERROR",
    }
    builder = SparkSession.builder.master("local[2]")
    for name, value in settings.items():
        builder = builder.config(name, value)
    return builder.getOrCreate()


def serve(of: Callable[[SparkSession], Driver], jars: str, warehouse: str) -> None:
    """Answer questions until there are no more. Standard output is for answers alone, before Java starts."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    driver = of(started(jars, warehouse))
    for line in sys.stdin:
        question = json.loads(line)
        try:
            answer = getattr(driver, question.pop("do"))(**question)
        except (PySparkException, Py4JJavaError) as error:
            answer = {"error": _words(error)}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    serve(Driver, *sys.argv[1:])
