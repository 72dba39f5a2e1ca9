"""A Kerberos realm on loopback: MIT's KDC in a folder of its own, with a configuration of its own.

Nothing outside the folder is read or written; the environment of the test process points into it while
the realm is up.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.patience import HANGS_AFTER_SECS
from tests.servers import free_port

REALM = "PLANT.EXAMPLE"
_SBIN = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
_INSTALL = "tests/network/install_kdc.sh installs it"


@dataclass(frozen=True)
class Realm:
    """`service` holds the key of HTTP/localhost, `user` that of svc_pi."""

    folder: Path
    user: str
    password: str
    user_keytab: Path
    service_keytab: Path
    environment: dict[str, str]

    def add(self, principal: str, keytab: Path) -> None:
        _admin(self.environment, f"addprinc -randkey {principal}")
        _admin(self.environment, f"ktadd -k {keytab} {principal}")


def require_kdc() -> None:
    """Skip on a machine without a KDC; fail where the whole of the tests has to run."""
    missing = [tool for tool in ("krb5kdc", "kadmin.local", "kdb5_util") if not shutil.which(tool, path=_SBIN)]
    try:
        import gssapi  # noqa: F401
        import krb5  # noqa: F401
        import spnego  # noqa: F401
    except ImportError as error:
        missing.append(str(error))
    if missing and os.environ.get("CI", "").lower() in {"1", "true", "yes"}:
        pytest.fail(f"CI tests Kerberos, but lacks {', '.join(missing)}; {_INSTALL}")
    if missing:
        pytest.skip(f"no Kerberos here ({', '.join(missing)}); {_INSTALL}")


@contextmanager
def realm(folder: Path) -> Iterator[Realm]:
    """Bring up a realm with a user and a service, and take it down again."""
    port = free_port()
    environment = _configure(folder, port)
    made = Realm(
        folder=folder,
        user=f"svc_pi@{REALM}",
        password="correct horse, bättery",
        user_keytab=folder / "user.keytab",
        service_keytab=folder / "service.keytab",
        environment=environment,
    )
    _run(environment, "kdb5_util", "create", "-s", "-r", REALM, "-P", "master")
    _admin(environment, f'addprinc +requires_preauth -pw "{made.password}" svc_pi')
    _admin(environment, f"ktadd -norandkey -k {made.user_keytab} svc_pi")
    made.add("HTTP/localhost", made.service_keytab)
    log = (folder / "kdc.out").open("w")
    daemon = subprocess.Popen(
        [_find("krb5kdc"), "-n", "-r", REALM], env=environment, stdout=log, stderr=subprocess.STDOUT
    )
    try:
        _wait_until_it_listens(port, daemon)
        yield made
    finally:
        daemon.terminate()
        daemon.wait(HANGS_AFTER_SECS)
        log.close()


def _configure(folder: Path, port: int) -> dict[str, str]:
    (folder / "krb5.conf").write_text(
        f"""[libdefaults]
  default_realm = {REALM}
  dns_lookup_kdc = false
  dns_lookup_realm = false
  rdns = false
  dns_canonicalize_hostname = false
  udp_preference_limit = 1
[realms]
  {REALM} = {{
    kdc = 127.0.0.1:{port}
  }}
[domain_realm]
  localhost = {REALM}
"""
    )
    (folder / "kdc.conf").write_text(
        f"""[kdcdefaults]
  kdc_listen = ""
  kdc_tcp_listen = 127.0.0.1:{port}
[realms]
  {REALM} = {{
    database_name = {folder}/principal
    key_stash_file = {folder}/stash
    acl_file = {folder}/kadm5.acl
    max_life = 1h
    supported_enctypes = aes256-cts-hmac-sha1-96:normal
  }}
[logging]
  kdc = FILE:{folder}/kdc.log
"""
    )
    return {
        **os.environ,
        "PATH": _SBIN,
        "KRB5_CONFIG": str(folder / "krb5.conf"),
        "KRB5_KDC_PROFILE": str(folder / "kdc.conf"),
        "KRB5RCACHENAME": f"dfl:{folder}",
        "KRB5CCNAME": f"FILE:{folder}/nobody.ccache",
    }


def _wait_until_it_listens(port: int, daemon: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + HANGS_AFTER_SECS
    while time.monotonic() < deadline:
        if daemon.poll() is not None:
            pytest.fail("the KDC ended before it listened")
        with socket.socket() as probe:
            probe.settimeout(0.05)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        try:
            daemon.wait(0.05)
        except subprocess.TimeoutExpired:
            continue
    pytest.fail("the KDC does not listen")


def _find(tool: str) -> str:
    return shutil.which(tool, path=_SBIN) or tool


def _admin(environment: dict[str, str], query: str) -> None:
    _run(environment, "kadmin.local", "-r", REALM, "-q", query)


def _run(environment: dict[str, str], tool: str, *arguments: str) -> None:
    done = subprocess.run([_find(tool), *arguments], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{tool}: {done.stdout}{done.stderr}"
