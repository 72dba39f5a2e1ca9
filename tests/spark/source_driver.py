"""As `driver`, with the data source of ours. Runs on the Python of the tests, with PySpark on its path."""

from __future__ import annotations

import sys
import time
from typing import Any

from driver import Driver, serve
from pyspark.sql import SparkSession
from pyspark.sql.streaming import StreamingQuery

from engine.spark.source import PiWebApiDataSource

FORMAT = "pi_web_api"


class SourceDriver(Driver):
    def __init__(self, spark: SparkSession) -> None:
        super().__init__(spark)
        spark.dataSource.register(PiWebApiDataSource)
        self._query: StreamingQuery | None = None

    def read(self, options: dict[str, str], target: str) -> dict[str, Any]:
        frame = self._spark.read.format(FORMAT).options(**options).load()
        frame.write.format("delta").mode("overwrite").save(target)
        return {"rows": [[f"{name} {kind}"] for name, kind in frame.dtypes]}

    def plan(self, options: dict[str, str]) -> dict[str, Any]:
        frame = self._spark.read.format(FORMAT).options(**options).load()
        return {"rows": [[frame._jdf.queryExecution().toString()]]}

    def follow(self, options: dict[str, str], target: str, checkpoint: str, every: str | None) -> dict[str, Any]:
        frame = self._spark.readStream.format(FORMAT).options(**options).load()
        writer = frame.writeStream.format("delta").option("checkpointLocation", checkpoint)
        if every is None:
            writer.trigger(availableNow=True).start(target).awaitTermination()
        else:
            self._query = writer.trigger(processingTime=every).start(target)
        return {"rows": []}

    def rest(self) -> dict[str, Any]:
        assert self._query is not None
        time.sleep(1.5)  # longer than the interval: the source has asked for the time again
        self._query.processAllAvailable()
        self._query.stop()
        return {"rows": []}


if __name__ == "__main__":
    serve(SourceDriver, *sys.argv[1:])
