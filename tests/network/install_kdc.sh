#!/bin/sh
# Installs what the Kerberos tests need on Debian and Ubuntu: a KDC, and what the extra is built against.
# Needs root. Then: pip install '.[kerberos]'
set -eu
if [ -x /usr/sbin/krb5kdc ] && [ -x /usr/sbin/kadmin.local ] && [ -e /usr/include/krb5.h ] && command -v gcc >/dev/null; then
  exit 0
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends krb5-kdc krb5-admin-server libkrb5-dev gcc libc6-dev python3-dev
