#!/usr/bin/env bash
# Installs Apache Spark, once, into the folders that tests/spark/session.py looks into:
#   spark-4.0.1  an environment of its own with PySpark from PyPI
#   delta-4.0.1  Delta Lake for Spark from Maven Central, without Spark itself
# Says what cannot be had, and fails at the end.
set -uo pipefail
source "$(dirname "$0")/../maven.sh"

fetch delta-4.0.1 io.delta:delta-spark_2.13:4.0.1

spark=$cache/spark-4.0.1
if [ ! -e "$spark/complete" ]; then
  rm -rf "$spark"; mkdir -p "$cache"
  log=$(mktemp)
  if uv venv -q --python python3 "$spark" && uv pip install -q --python "$spark/bin/python" pyspark==4.0.1 2>"$log"; then
    touch "$spark/complete"
  elif grep -qE "not found in the package registry|no version of pyspark==" "$log"; then
    echo "fetch_spark: pyspark 4.0.1 is not published; tests that need it are skipped" >&2
    touch "$spark/unpublished"
  else
    cat "$log" >&2
    echo "fetch_spark: cannot install pyspark" >&2
    failed=1
  fi
  rm -f "$log"
fi
exit "$failed"
