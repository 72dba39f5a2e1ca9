#!/usr/bin/env bash
# Installs Apache Spark, once, into the folders that tests/spark/session.py looks into:
#   spark-4.0.1  an environment of its own with PySpark from PyPI
#   spark-4.3.0  the same, newer, with declarative pipelines, and what our own code needs
#   spark-connect-packages-4.0.1  what Spark Connect needs beside 4.0.1, for the Python of the tests
#   delta-4.0.1  Delta Lake for Spark from Maven Central, without Spark itself
# Says what cannot be had, and fails at the end.
set -uo pipefail
source "$(dirname "$0")/../maven.sh"

fetch delta-4.0.1 io.delta:delta-spark_2.13:4.0.1

install() { # version, then packages and options of pip
  local spark=$cache/spark-$1 version=$1 log
  shift
  [ -e "$spark/complete" ] && return
  rm -rf "$spark"; mkdir -p "$cache"
  log=$(mktemp)
  if uv venv -q --python python3 "$spark" && uv pip install -q --python "$spark/bin/python" "$@" 2>"$log"; then
    touch "$spark/complete"
  elif grep -qE "not found in the package registry|no version of pyspark" "$log"; then
    echo "fetch_spark: pyspark $version is not published; tests that need it are skipped" >&2
    touch "$spark/unpublished"
  else
    cat "$log" >&2
    echo "fetch_spark: cannot install pyspark $version" >&2
    failed=1
  fi
  rm -f "$log"
}

install 4.0.1 pyspark==4.0.1
install 4.3.0 "pyspark[connect,pipelines]==4.3.0" -r "$(dirname "$0")/../../pyproject.toml"

connect=$cache/spark-connect-packages-4.0.1
if [ ! -e "$connect/complete" ]; then
  rm -rf "$connect"; mkdir -p "$connect"
  # pandas and pyarrow, which it needs too, are those of the tests.
  if uv pip install -q --python "$(command -v python)" --target "$connect" "grpcio>=1.67" "grpcio-status>=1.67" "googleapis-common-protos>=1.65"; then
    touch "$connect/complete"
  else
    echo "fetch_spark: cannot install the packages of Spark Connect" >&2
    failed=1
  fi
fi
exit "$failed"
