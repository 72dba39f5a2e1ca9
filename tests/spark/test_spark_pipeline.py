"""The declarative pipeline of the bundle, as Spark's own `spark-pipelines` understands it.

AUTO CDC writes only tables that MERGE can change, and open-source Spark brings none: the pipeline is analyzed as a whole,
flows, columns and keys, and not run.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.unity.jars import jars

pytestmark = [pytest.mark.spark, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]


def dry_run(folder: Path, text: str) -> tuple[int, str]:
    """Analyze a pipeline of this text. Gives the exit code, and what was printed."""
    home = jars("spark-4.3.0", "spark")
    (folder / "pi_timeseries.py").write_text(text)
    (folder / "plant.yaml").write_text(
        "pi_web_api: {url: 'http://127.0.0.1:9/piwebapi'}\nextraction: {tag_name_filter: '*', lookback: 1d}\n"
    )
    spec = {
        "name": "pi",
        "storage": (folder / "storage").as_uri(),
        "libraries": [{"glob": {"include": "pi_timeseries.py"}}],
        "catalog": "spark_catalog",
        "database": "default",
        "configuration": {"spark.osipi.config": str(folder / "plant.yaml")},
    }
    (folder / "spark-pipeline.yml").write_text(yaml.safe_dump(spec))
    env = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "SPARK_HOME"}}
    done = subprocess.run(
        [home / "bin" / "spark-pipelines", "dry-run", "--spec", "spark-pipeline.yml"],
        cwd=folder,
        env={
            **env,
            "PATH": f"{home / 'bin'}:{env['PATH']}",
            "PYTHONPATH": str(ROOT),
            "PYSPARK_PYTHON": str(home / "bin" / "python"),
            "SPARK_TESTING": "yes",  # the server of Spark Connect takes a port that is free
            "PI_USERNAME": "me",
            "PI_PASSWORD": "secret",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_spark_understands_the_pipeline_and_would_notice_a_column_that_is_none(tmp_path: Path) -> None:
    text = (ROOT / "pipelines" / "pi_timeseries.py").read_text()
    code, said = dry_run(tmp_path, text)
    assert code == 0, said[-3000:]
    assert "Run is COMPLETED" in said
    code, said = dry_run(tmp_path, text.replace('sequence_by="_sequence"', 'sequence_by="_no_such_column"'))
    assert code != 0
    assert "_no_such_column" in said
