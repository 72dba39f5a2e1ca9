# shellcheck shell=bash
# Sourced by the scripts that fetch jars from Maven Central, once, into folders of the user's cache.
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
    echo "${0##*/}: $group:$artifact:$version is not published; tests that need it are skipped" >&2
    touch "$into/unpublished"
  else
    cat "$work/log" >&2
    echo "${0##*/}: cannot fetch $*" >&2
    failed=1
  fi
  rm -rf "$work"
}

for tool in java mvn; do
  command -v "$tool" >/dev/null || { echo "${0##*/}: $tool is not installed (Java 17 or newer, Maven)" >&2; exit 1; }
done
