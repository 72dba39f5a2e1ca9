"""Writes the seeds of the corpus: answers in the shapes that servers send, small and well formed.

    python -m tests.fuzzing.seeds

What coverage adds to them (`python -m tests.fuzzing.play --keep`) lies beside them under the name of its hash.
"""

from __future__ import annotations

import base64
import json
import struct
import zlib
from pathlib import Path
from typing import Any

from tests.fuzzing.targets import tag_of

__all__ = ["SEEDS"]

FLAGS = {"UnitsAbbreviation": "", "Good": True, "Questionable": False, "Substituted": False, "Annotated": False}
TIMEOUT = {"Name": "I/O Timeout", "Value": 246, "IsSystem": True}
ON = {"Name": "On", "Value": 1, "IsSystem": False}
NOT_THERE = {"Errors": ["PI Point not found."]}
FAILED = {"Errors": [{"FieldName": "Value", "Message": ["Data was not available for attribute."]}]}
BROKE_OFF = {"WebException": {"Errors": ["Error occurred during writing of the output stream."], "StatusCode": 500}}
PAGE = b"<!DOCTYPE html><html><head><title>502 Bad Gateway</title></head><body><h1>Bad &amp; worse</h1></body></html>"


def event(second: int, value: Any, **more: Any) -> dict[str, Any]:
    return {"Timestamp": f"2024-03-05T10:00:{second:02}.1499939Z", "Value": value, **FLAGS, **more}


def stream(*events: Any, **more: Any) -> dict[str, Any]:
    return {"Items": list(events), "UnitsAbbreviation": "", **more}


STREAMS: dict[str, Any] = {
    "numbers": stream(event(0, 33.85205), event(5, TIMEOUT, Good=False), event(5, 7)),
    "texts": stream(event(0, "running"), event(1, "NaN"), event(2, ""), UnitsAbbreviation="degC"),
    "times": stream(event(0, "2024-03-05T10:15:30Z"), event(1, None, Good=None)),
    "blobs": stream(event(0, [1, 2, 255]), event(1, {"X": 1}), event(2, True)),
    "states": stream(event(0, ON), event(1, {"Name": "Off", "Value": 0})),
    "failed_value": stream(event(0, 1), event(1, None, **FAILED), event(2, FAILED)),
    "broke_off": stream(event(0, 1), **BROKE_OFF),
    "empty": stream(),
    "error": NOT_THERE,
}


def batch(*contents: Any) -> dict[str, Any]:
    return {str(n): {"Status": 200, "Headers": {}, "Content": content} for n, content in enumerate(contents)}


def streamset(*streams: Any) -> dict[str, Any]:
    return {
        "Links": {},
        "Items": [{"WebId": tag_of(n).web_id, "Name": tag_of(n).name, **one} for n, one in enumerate(streams)],
    }


def figures(*values: Any) -> dict[str, Any]:
    days = ("1970-01-01T00:00:00Z", "1970-01-02T00:00:00Z", "1970-01-03T00:00:00Z")
    return {
        "Items": [
            {"Type": "Count", "Value": {"Timestamp": day, "Value": value, **FLAGS}}
            for day, value in zip(days, values, strict=False)
        ]
    }


def on_grid(*values: Any, **more: Any) -> dict[str, Any]:
    """Values at ten minutes each."""
    return stream(*({**event(0, one), "Timestamp": f"2024-03-05T10:{n}0:00Z"} for n, one in enumerate(values)), **more)


def summaries(*kinds: str, values: tuple[Any, ...] = (1.5, 2, 3, 4, 5, TIMEOUT)) -> dict[str, Any]:
    items = on_grid(*values)["Items"]
    return {"Items": [{"Type": kind, "Value": one} for one in items for kind in kinds]}


POINTS = {
    "numbers": on_grid(1.5, 2, 3.25, TIMEOUT, 5, 6),
    "texts": on_grid("on", ON, None, "", True, [1]),
    "short": on_grid(1, 2, 3),
    "off_grid": stream(event(3, 1), event(9, 2)),
    "failed": on_grid(1, 2, 3, 4, 5, 6, **BROKE_OFF),
    "refused": NOT_THERE,
    "empty": stream(),
}
FIGURES = {
    "numbers": summaries("Average", "Maximum", "PercentGood"),
    "one_kind": summaries("Average"),
    "short": summaries("Average", "Maximum", "PercentGood", values=(1, 2)),
    "no_type": {"Items": [{"Value": event(0, 1)}]},
    "refused": NOT_THERE,
}


def point(n: int) -> dict[str, Any]:
    return {
        "WebId": tag_of(n).web_id, "Name": f"SINUSOID{n}", "Path": rf"\\PI1\SINUSOID{n}", "Descriptor": "12 hour sine",
        "PointClass": "classic", "PointType": "Float32", "DigitalSetName": "", "EngineeringUnits": "m3/h",
        "Span": 100.0, "Zero": 0.0, "Step": False, "Future": False,
    }  # fmt: skip


def attribute(n: int) -> dict[str, Any]:
    return {
        "WebId": f"F1AbE{n}", "Name": f"Flow{n}", "Path": rf"\\AF\DB\Pump|Flow{n}", "Type": "Double", "TypeQualifier": "",
        "DefaultUnitsNameAbbreviation": "m3/h", "DataReferencePlugIn": "PI Point", "HasChildren": False,
        "CategoryNames": ["Measurement"], "Links": {"Point": f"https://pi/piwebapi/points/{tag_of(n).web_id}"},
    }  # fmt: skip


SERVERS = {
    "Items": [{"WebId": "F1DSabc", "Name": "PI1", "IsConnected": True, "ServerTime": "2024-03-05T10:15:30.1234567Z"}]
}
SETS = {"Items": [{"WebId": "F1MSa", "Name": "System"}, {"WebId": "F1MSb", "Name": "Pumps"}]}
VALUES = {"Items": [{"Name": "Off", "Value": 0}, {"Name": "On", "Value": 1}], "Links": {}}
SIGNED_UP = [
    {"Source": tag_of(n).web_id, "LatestMarker": f"m{n}", "Status": status, "Exception": None}
    for n, status in enumerate(("Succeeded", "AlreadyRegistered"))
] + [{"Source": tag_of(2).web_id, "Status": "Failed", "Exception": {"Errors": ["No such stream."]}}]
TOLD = [
    {
        "RequestedMarker": "m1", "LatestMarker": "m1_2", "Status": "Updated", "Exception": None,
        "Events": [{"Action": "Add", "Timestamp": "2024-03-05T10:15:10.5Z"}, {"Action": "Delete", "Timestamp": "2024-03-05T09:00:00Z"}],
    },
    {"RequestedMarker": "m2", "Status": "MarkerNotFound", "Events": [], "Exception": {"Errors": ["The marker expired."]}},
]  # fmt: skip
LOADED = {
    "metadata": {
        "table-uuid": "0b1c", "location": "s3://lake/t",
        "properties": {"delta.feature.catalogManaged": "supported"},
    },
    "latest-table-version": 3,
    "commits": [{"version": 3, "file-name": "00000000000000000003.x.json"}],
    "uniform": None,
}  # fmt: skip
STAGED = {
    "table-id": "0b1c",
    "location": "s3://lake/t",
    "required-protocol": {"min-reader-version": 3, "reader-features": ["v2Checkpoint"]},
    "required-properties": {"delta.feature.catalogManaged": "supported"},
    "storage-credentials": [
        {
            "config": {"s3.access-key-id": "a", "s3.secret-access-key": "b", "s3.session-token": "c"},
            "expiration-time-ms": 1,
        }
    ],
}
FOUND = {
    "table_id": "0b1c", "table_type": "MANAGED", "data_source_format": "DELTA", "storage_location": "s3://lake/t",
    "properties": {"a": "b"}, "aws_temp_credentials": {"access_key_id": "a", "secret_access_key": "b"},
    "expiration_time": 1,
}  # fmt: skip
ADD = {
    "path": "partition_date=2024-03-05/a.parquet", "partitionValues": {"partition_date": "2024-03-05"}, "size": 10,
    "modificationTime": 1, "dataChange": True,
    "stats": json.dumps({"numRecords": 1, "minValues": {"tag_webid": "a", "timestamp": "2024-03-05T10:00:00Z"}, "maxValues": {}}),
}  # fmt: skip
VECTOR = {
    "storageType": "u",
    "pathOrInlineDv": "ab^-aqEH.-t@S}K{vb[*k^",
    "offset": 1,
    "sizeInBytes": 40,
    "cardinality": 6,
}
ENTRY = [
    {"commitInfo": {"timestamp": 5, "inCommitTimestamp": 6, "operation": "WRITE", "osipi.token": "t", "osipi.seen": "3"}},
    {"protocol": {"minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": ["deletionVectors"], "writerFeatures": []}},
    {"metaData": {"id": "x", "configuration": {"delta.deletedFileRetentionDuration": "interval 30 days", "delta.checkpointInterval": "10"}, "schemaString": "{}"}},
    {"txn": {"appId": "default", "version": 4, "lastUpdated": 5}},
    {"domainMetadata": {"domain": "d", "configuration": "{}", "removed": False}},
    {"add": ADD},
    {"remove": {**ADD, "deletionTimestamp": 7, "deletionVector": VECTOR}},
]  # fmt: skip


def _vector_file() -> bytes:
    """Rows 1, 5 and 9, and what the log says of them."""
    bitmap = (
        struct.pack("<II", 12346, 1) + struct.pack("<HH", 0, 2) + struct.pack("<I", 16) + struct.pack("<HHH", 1, 5, 9)
    )
    found = struct.pack("<Iq", 1681511377, 1) + struct.pack("<I", 0) + bitmap
    content = b"\x01" + struct.pack(">i", len(found)) + found + struct.pack(">I", zlib.crc32(found))
    return json.dumps({**VECTOR, "sizeInBytes": len(found), "cardinality": 3}).encode() + b"\n" + content


def _gzip(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=31)
    return packer.compress(data) + packer.flush()


def lines(*actions: Any) -> bytes:
    return b"".join(json.dumps(action).encode() + b"\n" for action in actions)


def _ntlm_challenge() -> bytes:
    """As a server of Windows sends it: who it is, by pairs of an identity and a text, and the time."""
    names = ((2, "CORP"), (1, "PI"), (4, "corp.example"), (3, "pi.corp.example"))
    pairs = b"".join(struct.pack("<HH", what, 2 * len(name)) + name.encode("utf-16-le") for what, name in names)
    pairs += struct.pack("<HHQ", 7, 8, 133_000_000_000_000_000) + struct.pack("<HH", 0, 0)
    target = "CORP".encode("utf-16-le")
    fields = [struct.pack("<HHI", len(data), len(data), at) for data, at in ((target, 56), (pairs, 56 + len(target)))]
    flags, version = struct.pack("<I", 0xE28A8235), struct.pack("<BBHI", 10, 0, 17763, 0x0F000000)
    head = b"NTLMSSP\0" + struct.pack("<I", 2) + fields[0] + flags + b"\1\2\3\4\5\6\7\x08" + bytes(8) + fields[1]
    return head + version + target + pairs


CHALLENGE = _ntlm_challenge()
_REFUSALS: dict[str, Any] = {
    "errors": NOT_THERE,
    "message": {"Message": "Authorization has been denied for this request."},
    "page": PAGE,
    "text": "password=hunter2 at https://me:secret@pi.example/",
}
SEEDS: dict[str, dict[str, Any]] = {
    "recorded_batch": {
        "values": batch(*(STREAMS[name] for name in ("numbers", "texts", "times", "blobs"))),
        "states": batch(*(STREAMS[name] for name in ("states", "failed_value", "broke_off", "empty"))),
        "refused": {**batch(STREAMS["numbers"], STREAMS["error"]), "2": {"Status": 404, "Headers": {}, "Content": NOT_THERE}},
        "long": batch(stream(*(event(n % 60, n) for n in range(3)))),
    },
    "recorded_streamset": {
        "values": streamset(*(STREAMS[name] for name in ("numbers", "texts", "times", "blobs"))),
        "states": streamset(*(STREAMS[name] for name in ("states", "failed_value", "broke_off", "empty"))),
        "broke_off": {**streamset(STREAMS["numbers"]), **BROKE_OFF},
    },
    "recorded_stream": STREAMS,
    "interpolated_batch": {name: batch(one, POINTS["numbers"]) for name, one in POINTS.items()},
    "interpolated_streamset": {name: streamset(one, POINTS["numbers"]) for name, one in POINTS.items()},
    "interpolated_stream": POINTS,
    "summaries_batch": {name: batch(one, FIGURES["numbers"]) for name, one in FIGURES.items()},
    "summaries_streamset": {name: streamset(one, FIGURES["numbers"]) for name, one in FIGURES.items()},
    "summaries_stream": FIGURES,
    "beside_batch": STREAMS,
    "beside_streamset": STREAMS,
    "values": {"number": 1.5, "state": ON, "blob": [1, 2], "text": "x", "beyond": 2**70, "null": None, "object": {"X": [1]}},
    "counts_batch": {"counts": batch(figures(3, 5, 0), figures(1.0, TIMEOUT)), "refused": batch(NOT_THERE, BROKE_OFF)},
    "counts_streamset": {"counts": streamset(figures(3, 5, 0), figures({"Value": 248}))},
    "counts_stream": {"counts": figures(3, 5), "refused": NOT_THERE, "broke_off": BROKE_OFF},
    "points_page": {"page": {"Items": [point(0), point(1)], "Links": {"Next": "https://pi/next"}}, "last": {"Items": [], "Links": {}}},
    "points_multiple": {
        "some": {"Items": [
            {"Identifier": r"\\PI1\SINUSOID", "Object": point(0), "Exception": None},
            {"Identifier": r"\\PI1\TANK", "Object": None, "Exception": NOT_THERE},
        ]}
    },
    "points_single": {"point": point(0)},
    "attributes_multiple": {
        "some": {"Items": [
            {"Identifier": "F1AbEa", "Object": attribute(0), "Exception": None},
            {"Identifier": "F1AbEb", "Object": None, "Exception": NOT_THERE},
        ]}
    },
    "attributes_list": {"page": {"Items": [attribute(0), attribute(1), None, NOT_THERE], "Links": {}}},
    "point_attributes": {
        "some": {"Items": [
            {"Name": "compdev", "Value": 0.1}, {"Name": "scan", "Value": 1}, {"Name": "exdesc", "Value": None},
            {"Name": "state", "Value": {"Name": "On", "Value": 1, "IsSystem": False}}, {"Name": "zero", **NOT_THERE},
        ]}
    },
    "servers": {"one": SERVERS},
    "state_sets": {"sets": SETS},
    "states": {"values": VALUES, "refused": NOT_THERE, "broke_off": {**VALUES, **BROKE_OFF}},
    "states_batch": {"values": batch(VALUES, NOT_THERE, {"Items": []})},
    "registrations": {"some": {"Items": SIGNED_UP}},
    "retrievals": {"some": {"Items": TOLD}},
    "refusals": _REFUSALS,
    "sentences": {name: one for name, one in _REFUSALS.items() if name != "page"} | {"markup": {"Errors": ["<b>no</b> &lt;x&gt;"]}},
    "headers": {
        "date": b"Tue, 05 Mar 2024 10:15:30 GMT", "secs": b"120", "time": b"2024-03-05T10:15:30Z",
        "schemes": b'Negotiate YWJj, Basic realm="pi"', "token": b'Bearer error="invalid_token"',
    },
    "ntlm_challenge": {
        "challenge": CHALLENGE, "bare": CHALLENGE[:48], "header": b"NTLM " + base64.b64encode(CHALLENGE),
        "offers": b"Negotiate, NTLM", "refused": b"NTLMSSP\0\x03\0\0\0",
    },
    "batch_overload": {
        "refused": {**batch(STREAMS["numbers"]), "1": {"Status": 429, "Headers": {"Retry-After": "5"}, "Content": {"Message": "no"}}},
        "timed_out": {**batch(STREAMS["numbers"]), "1": {"Status": 504, "Headers": {}, "Content": None}},
        "answered": batch(STREAMS["numbers"], STREAMS["texts"]),
    },
    "times": {"full": b"2024-03-05T10:15:30.1234567Z", "zone": b"2024-03-05 10:15+01:00", "short": b"2024-03-05T10Z"},
    "web_ids": {"web_id": tag_of(0).web_id.encode(), "path": rb"\\PI1\Unit 1.Flow", "name": b"P1DPump"},
    "token_endpoint": {
        "token": {"access_token": "abc.def", "token_type": "Bearer", "expires_in": 3600},
        "discovery": {
            "token_endpoint": "https://login.example/token",
            "token_endpoint_auth_methods_supported": ["client_secret_post"],
        },
        "refusal": {"error": "invalid_client", "error_description": "no"},
    },
    "bodies": {"plain": _gzip(b"{}"), "two": _gzip(b"ab") + _gzip(b"c" * 5000), "long": _gzip(b"\0" * 3_000_000)},
    "catalog": {
        "loaded": LOADED, "staged": STAGED, "found": FOUND, "old_refusal": {"error_code": "TABLE_ALREADY_EXISTS", "message": "x"},
        "refusal": {"error": {"type": "ResourceExhausted", "message": "publish first", "code": 429}},
    },
    "log_entries": {"entry": lines(*ENTRY), "commit": lines(*ENTRY[:1], *ENTRY[3:4])},
    "log_names": {
        "names": b"00000000000000000010.checkpoint.parquet\n00000000000000000011.json\n"
        b"00000000000000000012.checkpoint.0000000001.0000000002.parquet\n"
        b"00000000000000000012.checkpoint.0000000002.0000000002.parquet"
    },
    "deletion_vectors": {"file": _vector_file(), "inline": json.dumps({**VECTOR, "storageType": "i"}).encode() + b"\n"},
}  # fmt: skip


def main() -> None:
    for target, seeds in SEEDS.items():
        folder = Path(__file__).parent / "corpus" / target
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in seeds.items():
            (folder / name).write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())


if __name__ == "__main__":
    main()
