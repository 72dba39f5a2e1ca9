"""A declarative pipeline: Spark owns the table `pi_timeseries`, and keeps it equal to the PI System by AUTO CDC.

Its configuration (resources/variants/declarative.pipeline.yml): `spark.osipi.config` is the path of a YAML file, and each further
`spark.osipi.KEY` an option of the source. The login is in the environment of the cluster. docs/spark_source.md says what it keeps, and what `run` keeps besides.
"""

from pyspark import pipelines as dp
from pyspark.sql import DataFrame, SparkSession

from engine.spark.source import PiWebApiDataSource

spark = SparkSession.active()
spark.dataSource.register(PiWebApiDataSource)
LOGIN = {"pi_web_api.username": "${env:PI_USERNAME}", "pi_web_api.password": "${env:PI_PASSWORD}"}
OPTIONS = (
    "config",
    "pi_web_api.url",
    "extraction.start_date",
    "extraction.lookback",
    "numPartitions",
    "stateLocation",
)


@dp.temporary_view
def pi_changes() -> DataFrame:
    """What is new in PI, and what the lookback reads again: rows with their micro-batch."""
    given = {name: spark.conf.get(f"spark.osipi.{name}", None) for name in OPTIONS}
    options = {**LOGIN, **{name: value for name, value in given.items() if value is not None}}
    return spark.readStream.format("pi_web_api").options(changeRows="true", **options).load()


dp.create_streaming_table(name="pi_timeseries", comment="One recorded event of a PI tag.")
dp.create_auto_cdc_flow(
    target="pi_timeseries",
    source="pi_changes",
    keys=["tag_webid", "timestamp", "sequence"],
    sequence_by="_sequence",
    except_column_list=["_change_type", "_sequence"],
    stored_as_scd_type=1,
)
