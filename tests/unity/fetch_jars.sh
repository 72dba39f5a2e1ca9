#!/usr/bin/env bash
# Fetches from Maven Central, once, into the folders that tests/unity/jars.py looks into:
#   unitycatalog-server  the open-source Unity Catalog server
#   delta-kernel         an engine that is not ours, with its own client of the catalog
# Says what cannot be had, goes on with the rest, and fails at the end.
set -uo pipefail
cache=${XDG_CACHE_HOME:-$HOME/.cache}/osipi
failed=0

fetch() { # folder, then group:artifact:version ...
  local into=$cache/$1 work dependencies=""
  shift
  [ -e "$into/complete" ] && return
  for coordinates in "$@"; do
    IFS=: read -r group artifact version <<<"$coordinates"
    dependencies+="<dependency><groupId>$group</groupId><artifactId>$artifact</artifactId>"
    dependencies+="<version>$version</version></dependency>"
  done
  work=$(mktemp -d)
  cat >"$work/pom.xml" <<POM
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>osipi</groupId><artifactId>jars</artifactId><version>1</version>
  <dependencies>$dependencies</dependencies>
</project>
POM
  mkdir -p "$into"; rm -f "$into/unpublished"
  if mvn -q -B -f "$work/pom.xml" dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$into" \
    >"$work/log" 2>&1; then
    touch "$into/complete"
  elif grep -qE "Could not find artifact $group|$group:$artifact:jar:$version was not found" "$work/log"; then
    echo "fetch_jars: $group:$artifact:$version is not published; tests that need it are skipped" >&2
    touch "$into/unpublished"
  else
    cat "$work/log" >&2
    echo "fetch_jars: cannot fetch $*" >&2
    failed=1
  fi
  rm -rf "$work"
}

for tool in java mvn; do
  command -v "$tool" >/dev/null || { echo "fetch_jars: $tool is not installed (Java 17 or newer, Maven)" >&2; exit 1; }
done
fetch unitycatalog-server-0.6.0 io.unitycatalog:unitycatalog-server:0.6.0
# (The last two are needed by the catalog client, whose own list of dependencies does not say so.)
fetch delta-kernel-4.4.0 io.delta:delta-kernel-api:4.4.0 io.delta:delta-kernel-defaults:4.4.0 \
  io.delta:delta-kernel-unitycatalog:4.4.0 \
  com.fasterxml.jackson.datatype:jackson-datatype-jsr310:2.13.5 org.openapitools:jackson-databind-nullable:0.2.6
exit "$failed"
