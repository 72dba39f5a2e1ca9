#!/usr/bin/env bash
# Fetches the open-source Unity Catalog server from Maven Central, once, into a folder that
# tests/unity/server.py looks into. Says why, and fails, where it cannot be had.
set -euo pipefail
version=${UNITYCATALOG_VERSION:-0.6.0}
into=${UNITY_JARS:-${XDG_CACHE_HOME:-$HOME/.cache}/osipi/unitycatalog-server-$version}
[ -e "$into/complete" ] && exit 0
command -v mvn >/dev/null || { echo "mvn is not installed (apt-get install maven)" >&2; exit 1; }
command -v java >/dev/null || { echo "java is not installed (17 or newer)" >&2; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat >"$work/pom.xml" <<POM
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>osipi</groupId><artifactId>unity-jars</artifactId><version>1</version>
  <dependencies>
    <dependency>
      <groupId>io.unitycatalog</groupId><artifactId>unitycatalog-server</artifactId><version>$version</version>
    </dependency>
  </dependencies>
</project>
POM
mkdir -p "$into"
mvn -q -B -f "$work/pom.xml" dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$into"
touch "$into/complete"
