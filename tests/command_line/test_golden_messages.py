"""What users are told about their mistakes, to the letter: golden/*.txt.

`OSIPI_WRITE_GOLDEN=1 pytest tests/command_line` writes the files again; read the difference.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
import shlex
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.command_line.conftest import Called, plain, written

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture
def told(called: Called, here: Path):
    """Run a command and compare its exit code and all it says with a golden file."""

    def compare(name: str, *arguments: str) -> None:
        done = called(*arguments)
        text = f"$ python -m engine {shlex.join(arguments)}\nexit code {done.code}\n"
        text += "".join(f"--- {what}\n{said}" for what, said in (("stdout", done.out), ("stderr", done.err)) if said)
        text = plain(text, here)
        file = GOLDEN / f"{name}.txt"
        if os.environ.get("OSIPI_WRITE_GOLDEN"):
            file.write_text(text)
        assert text == file.read_text()

    return compare


@pytest.fixture
def self_signed_url(tmp_path: Path) -> Iterator[str]:
    """A server on loopback with a certificate that it has signed itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "pi")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    file = tmp_path / "server.pem"
    file.write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(pem)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    # A handshake that the client breaks off ends in `accept`, where the server takes no notice.
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"https://127.0.0.1:{server.server_port}/piwebapi"
        server.shutdown()
        thread.join()


def test_yaml_that_is_broken(told, here: Path):
    (here / "plant.yaml").write_text("pi_web_api:\n  url: https://pi.example/piwebapi\n  password: @secret\n")
    told("broken_yaml", "run", "-c", "plant.yaml")


def test_keys_that_do_not_exist_and_values_that_cannot_be(told, here: Path):
    written(here, "https://pi.example/piwebapi", extraction={"batchsize": 5, "lag": "soon", "start_date": "2024-01-01"})
    told("unknown_key", "run", "-c", "plant.yaml")


def test_a_file_that_is_not_there(told):
    told("no_file", "run", "-c", "plnat.yaml")


def test_a_variable_that_is_not_set(told, here: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("PI_PASSWORD", raising=False)
    written(here, "https://pi.example/piwebapi", pi_web_api={"password": "${env:PI_PASSWORD}"})
    told("missing_variable", "run", "-c", "plant.yaml")


def test_nothing_to_read_from(told, here: Path):
    written(here)
    told("no_source", "run", "-c", "plant.yaml")


def test_no_root_and_no_login_for_the_catalog(told, here: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DATABRICKS_CONFIG_FILE", str(here / "none"))
    written(here, "http://127.0.0.1:9/piwebapi", storage={"root": None})
    told("no_catalog", "run", "-c", "plant.yaml")


def test_an_address_where_no_server_listens(told, here: Path):
    written(here, "http://127.0.0.1:9/piwebapi")
    told("wrong_url", "run", "-c", "plant.yaml")


def test_a_password_that_is_wrong(told, here: Path, guarded_site: str):
    login = {"auth_type": "basic", "username": "pi", "password": "incorrect"}
    written(here, guarded_site, pi_web_api=login)
    told("wrong_password", "run", "-c", "plant.yaml")


def test_a_password_that_is_wrong_when_checked(told, here: Path, guarded_site: str):
    login = {"auth_type": "basic", "username": "pi", "password": "incorrect"}
    written(here, guarded_site, pi_web_api=login)
    told("wrong_password_check", "check", "-c", "plant.yaml")


def test_a_certificate_that_is_not_trusted(told, here: Path, self_signed_url: str):
    written(here, self_signed_url)
    told("wrong_certificate", "run", "-c", "plant.yaml")


def test_tags_that_do_not_exist(told, here: Path, site: str):
    names = {"tags": ["Unit0000.Flow.000000", "NO.SUCH.TAG", "\\\\SIMDA\\NOR.THIS"], "tag_name_filter": []}
    written(here, site, extraction=names)
    told("unknown_tag", "tags", "-c", "plant.yaml")


def test_tags_that_do_not_exist_when_checked(told, here: Path, site: str):
    written(here, site, extraction={"tags": ["NO.SUCH.TAG"]})
    told("unknown_tag_check", "check", "-c", "plant.yaml")


def test_a_folder_that_cannot_be_written(told, here: Path, site: str):
    (here / "file").write_text("in the way, as for everybody, whatever their permissions")
    written(here, site, storage={"root": str(here / "file" / "lakehouse")})
    told("unwritable_folder", "run", "-c", "plant.yaml")


def test_a_folder_that_cannot_be_written_when_checked(told, here: Path, site: str):
    (here / "file").write_text("in the way, as for everybody, whatever their permissions")
    written(here, site, storage={"root": str(here / "file" / "lakehouse")})
    told("unwritable_folder_check", "check", "-c", "plant.yaml")


def test_following_has_no_end(told):
    told("follow", "run", "--follow", "--mode", "full", "--end", "now")


def test_a_dataset_that_is_not_known(told):
    told("datasets", "run", "--datasets", "recorded,sinusoids")


def test_a_shard_that_is_none(told):
    told("wrong_shard", "run", "--shard", "4/4")


@pytest.mark.parametrize("arguments", [("run", "--shards", "0/4"), ("rum",), ("run", "--mode", "all"), ("tags", "x")])
def test_what_does_not_parse_is_one_line_and_where_to_look(called: Called, arguments: tuple[str, ...]):
    """The wording is click's, and differs between its versions."""
    done = called(*arguments)
    error, hint = done.err.splitlines()
    assert (done.code, done.out) == (2, "")
    assert error.startswith("error: ")
    assert hint.startswith("hint: `python -m engine")
    assert hint.endswith("--help` lists the options.")


def test_a_rebuild_that_is_not_confirmed(told, called, here: Path, site: str):
    written(here, site)
    assert called("run", "-c", "plant.yaml").code == 0
    told("rebuild_unconfirmed", "rebuild-watermarks", "-c", "plant.yaml")


@pytest.mark.parametrize("confirmed", [(), ("--yes",)])
def test_a_rebuild_where_nothing_was_ever_read(told, here: Path, confirmed: tuple[str, ...]):
    written(here)
    told(
        "rebuild_nothing" + "".join(confirmed).replace("--", "_"), "rebuild-watermarks", "-c", "plant.yaml", *confirmed
    )
    assert not (here / "lakehouse").exists(), "a refusal creates nothing"


def test_everything_in_place(told, here: Path, site: str):
    written(here, site)
    told("check_well", "check", "-c", "plant.yaml")
    assert not (here / "lakehouse").exists(), "check leaves nothing behind"


def test_a_plan_for_tags_that_were_never_read(told, here: Path, site: str):
    written(here, site, pi_web_api={"max_requests_per_second": 20})
    told("plan", "plan", "-c", "plant.yaml")
    assert not (here / "lakehouse").exists(), "plan writes nothing"


def test_the_status_of_what_was_never_run(told, here: Path, site: str):
    written(here, site)
    told("status_nothing", "status", "-c", "plant.yaml")
    assert not (here / "lakehouse").exists(), "status creates nothing"
