#!/usr/bin/env bash
# Fetches from Maven Central, once, into the folders that tests/unity/jars.py looks into:
#   unitycatalog-server  the open-source Unity Catalog server
#   delta-kernel         an engine that is not ours, with its own client of the catalog
# Says what cannot be had, goes on with the rest, and fails at the end.
set -uo pipefail
source "$(dirname "$0")/../maven.sh"

fetch unitycatalog-server-0.6.0 io.unitycatalog:unitycatalog-server:0.6.0
# (The last two are needed by the catalog client, whose own list of dependencies does not say so.)
fetch delta-kernel-4.4.0 io.delta:delta-kernel-api:4.4.0 io.delta:delta-kernel-defaults:4.4.0 \
  io.delta:delta-kernel-unitycatalog:4.4.0 \
  com.fasterxml.jackson.datatype:jackson-datatype-jsr310:2.13.5 org.openapitools:jackson-databind-nullable:0.2.6
exit "$failed"
