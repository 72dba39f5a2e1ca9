"""The simulated asset tree and its event frames, by the API alone: ids, lists, pages, changes, streams, refusals."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.simulator import FaultPlan, Simulator, SimulatorOptions
from engine.simulator.assets.frames import NO_END
from engine.simulator.dispatch import Dispatch
from engine.simulator.site import Site
from engine.simulator.times import DAY, HOUR, iso
from tests.examples import examples

NOW = 1_704_240_000  # 2024-01-03T00:00:00Z
OPTIONS = SimulatorOptions(tags=40, elements=1300, frames_per_day=40, begin="2024-01-01T00:00:00Z", now=float(NOW))


class Server:
    """Asks without a network."""

    def __init__(self, options: SimulatorOptions = OPTIONS) -> None:
        self.site = Site(options)
        self._dispatch = Dispatch(self.site)

    def ask(self, target: str) -> tuple[int, Any]:
        reply = self._dispatch.answer("GET", f"/piwebapi/{target}", "http://pi/piwebapi", "outer", self.site.now())
        return reply.status, json.loads(reply.body())

    def get(self, target: str) -> Any:
        status, body = self.ask(target)
        assert status == 200, body
        return body

    def items(self, target: str, size: int = 1000) -> list[dict[str, Any]]:
        """All pages of a list."""
        found: list[dict[str, Any]] = []
        sign = "&" if "?" in target else "?"
        while True:
            some = self.get(f"{target}{sign}startIndex={len(found)}&maxCount={size}")["Items"]
            found += some
            if len(some) < size:
                return found

    @property
    def database(self) -> str:
        server = self.get("assetservers")["Items"][0]["WebId"]
        return str(self.get(f"assetservers/{server}/assetdatabases?webIdType=IDOnly")["Items"][0]["WebId"])

    def change(self, **edit: Any) -> int:
        plan = FaultPlan.from_dict({"asset_edits": [edit]})
        return self.site.change_assets(plan.asset_edits[0])


@pytest.fixture(scope="module")
def server() -> Server:
    return Server()


def walked(server: Server, room: str) -> Iterator[dict[str, Any]]:
    for one in server.items(f"{room}/elements?webIdType=IDOnly"):
        yield one
        if one["HasChildren"]:
            yield from walked(server, f"elements/{one['WebId']}")


def test_the_whole_tree_is_what_a_walk_through_its_levels_finds(server: Server) -> None:
    whole = server.items(f"assetdatabases/{server.database}/elements?searchFullHierarchy=true&webIdType=IDOnly", 700)
    assert len(whole) == OPTIONS.elements
    assert [one["Name"].casefold() for one in whole] == sorted(one["Name"].casefold() for one in whole)
    by_walk = list(walked(server, f"assetdatabases/{server.database}"))
    assert {one["Path"] for one in by_walk} == {one["Path"] for one in whole}
    assert len(by_walk) > len(whole), "an element with several parents shows below each of them"


def test_an_element_with_further_parents_is_one_element_with_several_paths(server: Server) -> None:
    whole = server.items(
        f"assetdatabases/{server.database}/elements?searchFullHierarchy=true&webIdType=IDOnly&associations=Paths"
    )
    several = [one for one in whole if len(one["Paths"]) > 1]
    assert several
    for one in several:
        assert one["Paths"][0] == one["Path"]
        assert server.get(f"elements/{one['WebId']}/paths")["Items"] == one["Paths"]
        for path in one["Paths"]:
            found = server.get(
                f"elements?webIdType=IDOnly&path={path.replace('&', '%26').replace('#', '%23').replace('+', '%2B')}"
            )
            assert found["WebId"] == one["WebId"]


@examples(60)
@given(
    st.integers(0, OPTIONS.elements - 1),
    st.sampled_from(["Full", "IDOnly", "PathOnly", "LocalIDOnly", "DefaultIDOnly"]),
)
def test_every_kind_of_web_id_names_the_same_element(number: int, kind: str) -> None:
    server = _SHARED
    known = server.items(f"assetdatabases/{server.database}/elements?searchFullHierarchy=true&webIdType={kind}")[number]
    assert server.get(f"elements/{known['WebId']}")["Id"] == known["Id"]
    for attribute in server.items(f"elements/{known['WebId']}/attributes?webIdType={kind}&searchFullHierarchy=true"):
        assert server.get(f"attributes/{attribute['WebId']}")["Id"] == attribute["Id"]


_SHARED = Server()


def test_the_list_of_all_attributes_is_that_of_every_element(server: Server) -> None:
    database = server.database
    listed = server.items(f"assetdatabases/{database}/elementattributes?searchFullHierarchy=true&webIdType=IDOnly")
    single: list[str] = []
    for one in server.items(f"assetdatabases/{database}/elements?searchFullHierarchy=true&webIdType=IDOnly"):
        single += [a["WebId"] for a in server.items(f"elements/{one['WebId']}/attributes?webIdType=IDOnly")]
    assert sorted(one["WebId"] for one in listed) == sorted(single)
    nested = Server(
        SimulatorOptions(
            tags=4, elements=30, faults=FaultPlan.from_dict({"switches": {"bulk_nested_attributes": True}})
        )
    )
    shown = nested.items(f"assetdatabases/{nested.database}/elementattributes?searchFullHierarchy=true")
    assert any("|Limits|High" in one["Path"] for one in shown)
    assert not any("|Limits|High" in one["Path"] for one in listed)


def test_a_moved_and_renamed_element_keeps_its_identity_and_what_is_below_it() -> None:
    server = Server()
    before = server.get(r"elements?webIdType=IDOnly&path=\\SIMAF\Plant\Site 01\Unit 02")
    child = server.items(f"elements/{before['WebId']}/elements?webIdType=IDOnly")[0]
    server.change(action="edit_element", element=r"Site 01\Unit 02", name="Unit X", description="after")
    server.change(action="move_element", element=r"Site 01\Unit X", to="Site 02")
    after = server.get(f"elements/{before['WebId']}")
    assert (after["Id"], after["Path"], after["Description"]) == (
        before["Id"],
        r"\\SIMAF\Plant\Site 02\Unit X",
        "after",
    )
    assert server.get(f"elements/{child['WebId']}")["Path"].startswith(r"\\SIMAF\Plant\Site 02\Unit X" + "\\")
    whole = server.items(f"assetdatabases/{server.database}/elements?searchFullHierarchy=true")
    assert len(whole) == OPTIONS.elements
    server.change(action="delete_element", element=r"Site 02\Unit X")
    assert server.ask(f"elements/{before['WebId']}")[0] == 404
    assert server.ask(f"elements/{child['WebId']}")[0] == 404
    left = server.items(f"assetdatabases/{server.database}/elements?searchFullHierarchy=true")
    assert len(left) == OPTIONS.elements - 1 - 10 - 100


def test_a_search_gives_what_all_of_its_conditions_let_through(server: Server) -> None:
    def found(room: str, query: str) -> list[dict[str, Any]]:
        return server.items(f"{room}/search?databaseWebId={server.database}&query={quote(query)}")

    everything = server.items(f"assetdatabases/{server.database}/elements?searchFullHierarchy=true")
    pumps = [one for one in everything if one["TemplateName"] == "Pump"]
    assert found("elements", "Template:=Pump") == pumps
    assert found("elements", "Template:<>Pump") == [one for one in everything if one not in pumps]
    named = [one for one in pumps if one["Name"].startswith("Pump 001")]
    assert 0 < len(named) < len(pumps)
    assert found("elements", "Template:=Pump Name:'Pump 001*'") == named
    flows = found("attributes", "Name:Flow Element:{Template:=Pump Name:'Pump 001*'}")
    assert [one["Name"] for one in flows] == ["Flow"] * len(named)
    assert {one["Path"].partition("|")[0] for one in flows} == {one["Path"] for one in named}
    trips = found("eventframes", "Template:=Trip Start:<2024-01-02T00:00:00Z")
    assert trips
    assert all(one["TemplateName"] == "Trip" and one["StartTime"] < "2024-01-02" for one in trips)
    assert len(found("eventframes", "Template:=Trip")) > len(trips)
    for room in ("elements", "attributes", "eventframes"):
        assert server.ask(f"{room}/search?databaseWebId={server.database}&query=Colour:red")[0] == 400


@pytest.mark.parametrize(
    ("template", "name", "mark", "option"),
    [("Sensor", "Internal note", "IsHidden", "showHidden"), ("Motor", "Retired", "IsExcluded", "showExcluded")],
)
def test_attributes_are_hidden_as_their_template_says(
    server: Server, template: str, name: str, mark: str, option: str
) -> None:
    query = f"databaseWebId={server.database}&query=Template:={template}"
    web_id = server.get(f"elements/search?{query}&maxCount=1")["Items"][0]["WebId"]
    assert name not in {one["Name"] for one in server.items(f"elements/{web_id}/attributes")}
    shown = {one["Name"]: one[mark] for one in server.items(f"elements/{web_id}/attributes?{option}=true")}
    assert [one for one, marked in shown.items() if marked] == [name]


def test_templates_inherit(server: Server) -> None:
    templates = {one["Name"]: one for one in server.get(f"assetdatabases/{server.database}/elementtemplates")["Items"]}
    assert templates["Pump"]["BaseTemplate"] == "Equipment"
    assert templates["Batch"]["InstanceType"] == "EventFrame"
    pump = templates["Pump"]["WebId"]
    own = {one["Name"] for one in server.items(f"elementtemplates/{pump}/attributetemplates")}
    inherited = {one["Name"] for one in server.items(f"elementtemplates/{pump}/attributetemplates?showInherited=true")}
    assert own < inherited
    equipment = server.items(
        f"assetdatabases/{server.database}/elements?searchFullHierarchy=true&templateName=Equipment"
    )
    assert {one["TemplateName"] for one in equipment} == {"Pump", "Compressor", "Tank", "Heater"}


def test_streams_of_attributes(server: Server) -> None:
    pump = server.items(
        f"assetdatabases/{server.database}/elements?searchFullHierarchy=true&templateName=Pump&webIdType=IDOnly"
    )[0]
    shown = server.items(f"elements/{pump['WebId']}/attributes?webIdType=IDOnly&associations=DataReference")
    by_name = {one["Name"]: one for one in shown}
    flow, doubled = by_name["Flow"], by_name["Flow doubled"]
    ask = f"recorded?startTime={iso((NOW - 7200) * 10_000_000)}&endTime=*"
    of_point = server.get(f"streams/{flow['DataReference']['PIPoint']['WebId']}/{ask}")["Items"]
    of_flow = server.get(f"streams/{flow['WebId']}/{ask}")["Items"]
    assert [(one["Timestamp"], one["Value"]) for one in of_flow] == [
        (one["Timestamp"], one["Value"]) for one in of_point
    ]
    assert {one["UnitsAbbreviation"] for one in of_flow} == {"m3/h"}
    for twice, once in zip(server.get(f"streams/{doubled['WebId']}/{ask}")["Items"], of_point, strict=True):
        assert twice["Value"] == (once["Value"] * 2 if isinstance(once["Value"], (int, float)) else once["Value"])
    assert server.ask(f"streams/{by_name['Serial']['WebId']}/{ask}")[0] == 409
    assert server.get(f"streams/{by_name['Serial']['WebId']}/value")["Good"] is True
    together = server.get(f"streamsets/{ask}&webIdType=IDOnly&webId={flow['WebId']}&webId={doubled['WebId']}")["Items"]
    assert [one["WebId"] for one in together] == [flow["WebId"], doubled["WebId"]]
    assert together[0]["Items"] == of_flow
    values = server.get(f"streamsets/{pump['WebId']}/value?searchFullHierarchy=true&webIdType=IDOnly")["Items"]
    assert {"Limits", "High", "Low", "Flow"} <= {one["Name"] for one in values}


# --- event frames ------------------------------------------------------------------


def frames_in(server: Server, mode: str, start: int, end: int) -> list[str]:
    target = f"assetdatabases/{server.database}/eventframes?searchFullHierarchy=true&webIdType=IDOnly&searchMode={mode}"
    found = server.items(f"{target}&startTime={iso(start)}&endTime={iso(end)}&sortField=StartTime", 50)
    assert [one["StartTime"] for one in found] == sorted(
        (one["StartTime"] for one in found), key=lambda at: at.ljust(28, "0")
    )
    return sorted(one["Id"] for one in found)


@examples(40)
@given(st.integers(-5, 60), st.integers(0, 50))
def test_each_search_mode_selects_what_it_says(first_hour: int, hours: int) -> None:
    server, now = _SHARED, NOW * 10_000_000
    start = OPTIONS.begin_ticks + first_hour * HOUR
    end = start + hours * HOUR
    everything = server.items(
        f"assetdatabases/{server.database}/eventframes?searchFullHierarchy=true&startTime=2023-01-01&endTime=*"
    )
    known = []
    for one in everything:
        number = int(one["Id"][:8], 16)
        frame = server.site.frames.frame(number, now)
        assert frame is not None
        known.append((one["Id"], frame.start, NO_END if frame.end is None else frame.end, frame.end is None))
        assert (one["EndTime"] == iso(NO_END)) == (frame.end is None)
    assert frames_in(server, "Overlapped", start, end) == sorted(i for i, s, e, _ in known if s <= end and e >= start)
    assert frames_in(server, "StartInclusive", start, end) == sorted(i for i, s, _, _ in known if start <= s <= end)
    assert frames_in(server, "EndInclusive", start, end) == sorted(i for i, _, e, _ in known if start <= e <= end)
    assert frames_in(server, "Inclusive", start, end) == sorted(i for i, s, e, _ in known if start <= s and e <= end)
    assert frames_in(server, "InProgress", start, end) == sorted(i for i, s, _, o in known if o and start <= s <= end)


def test_frames_open_close_and_change_as_time_goes_on() -> None:
    server = Server()
    database = server.database
    target = f"assetdatabases/{database}/eventframes?searchFullHierarchy=true&webIdType=IDOnly&startTime=*-3d&endTime=*"
    before = {one["WebId"]: one for one in server.items(target)}
    is_open = [one for one in before.values() if one["EndTime"].startswith("9999")]
    assert is_open
    server.site.set_clock(NOW * 10_000_000 + DAY)
    after = {one["WebId"]: one for one in server.items(target.replace("*-3d", "*-9d"))}
    assert before.keys() < after.keys()
    assert any(not after[one["WebId"]]["EndTime"].startswith("9999") for one in is_open)
    number = server.change(
        action="create_frame", name="Trip", start="2024-01-03T01:00:00Z", template="Trip", elements=["Site 01"]
    )
    server.change(action="acknowledge_frame", frame=number, by="PLANT\\a", start="2024-01-03T02:00:00Z")
    server.change(action="edit_frame", frame=number, end="2024-01-03T03:00:00.1234567Z", description="closed")
    [made] = [one for one in server.items(target.replace("*-3d", "*-9d")) if one["Description"] == "closed"]
    assert (made["AcknowledgedBy"], made["EndTime"]) == ("PLANT\\a", "2024-01-03T03:00:00.1234567Z")
    assert server.get(f"eventframes/{made['WebId']}/referencedelements")["Items"][0]["Name"] == "Site 01"
    server.change(action="delete_frame", frame=number)
    assert server.ask(f"eventframes/{made['WebId']}")[0] == 404


def test_captured_values_stay_and_the_list_of_all_attributes_is_that_of_every_frame(server: Server) -> None:
    database = server.database
    window = "startTime=*-1d&endTime=*&searchFullHierarchy=true&webIdType=IDOnly"
    listed = server.items(f"assetdatabases/{database}/eventframeattributes?{window}")
    frames = server.items(f"assetdatabases/{database}/eventframes?{window}")
    single = [
        one["WebId"] for f in frames for one in server.items(f"eventframes/{f['WebId']}/attributes?webIdType=IDOnly")
    ]
    assert sorted(one["WebId"] for one in listed) == sorted(single)
    captured = next(one for one in frames if one["AreValuesCaptured"])
    values = server.get(f"streamsets/{captured['WebId']}/value")["Items"]
    assert values == server.get(f"streamsets/{captured['WebId']}/value")["Items"]
    assert {one["Value"]["Timestamp"] for one in values} == {captured["EndTime"]}


@pytest.mark.parametrize(
    ("target", "status", "words"),
    [
        ("assetdatabases/{d}/elements?templateName=Nothing", 400, "element template was not found"),
        ("assetdatabases/{d}/elements?categoryName=Nothing", 400, "element category was not found"),
        ("assetdatabases/{d}/elements?sortField=Weight", 400, "sortField"),
        ("assetdatabases/{d}/elements?maxCount=999999", 400, "greater than the maximum allowed"),
        ("assetdatabases/{d}/eventframes?startTime=*&endTime=*-1h", 400, "less than or equal"),
        ("assetdatabases/{d}/eventframes?searchMode=ForwardFromStartTime&endTime=*", 400, "may not be specified"),
        ("assetdatabases/{d}/eventframes?searchMode=Nothing", 400, "searchMode"),
        (r"assetdatabases?path=\\SIMAF\Elsewhere", 404, "not found"),
        ("assetdatabases", 400, "path parameter"),
        (r"elements?path=\\SIMAF\Plant\Nowhere", 404, "not found"),
        ("elements/I1EmXXXX", 404, "not found"),
        ("elements/nonsense", 400, "not in a valid format"),
    ],
)
def test_refusals(server: Server, target: str, status: int, words: str) -> None:
    found, body = server.ask(target.replace("{d}", server.database))
    assert (found, words in body["Errors"][0]) == (status, True), body


async def test_over_the_network_with_a_batch_that_fills_in_web_ids() -> None:
    import aiohttp

    async with Simulator(OPTIONS).serve() as url, aiohttp.ClientSession() as session:
        database = rf"{url}/assetdatabases?path=\\SIMAF\Plant"
        parts = {
            "0": {"Method": "GET", "Resource": database},
            "1": {"Method": "GET", "Resource": f"{url}/assetdatabases/{{0}}/elements?maxCount=5", "Parameters": ["$.0.Content.WebId"], "ParentIds": ["0"]},
            "2": {"Method": "GET", "RequestTemplate": {"Resource": f"{url}/streamsets/{{0}}/value"}, "Parameters": ["$.1.Content.Items[*].WebId"], "ParentIds": ["1"]},
        }  # fmt: skip
        async with session.post(f"{url}/batch", json=parts, headers={"X-Requested-With": "tests"}) as answer:
            body = json.loads(await answer.text())
    assert body["2"]["Status"] == 207
    assert len(body["2"]["Content"]["Items"]) == len(body["1"]["Content"]["Items"]) == 5
