"""Servers, points, digital sets and system pages."""

import pytest

from engine.simulator.archive.points import name_of, point
from engine.simulator.webid import decode, encode

POINT_MEMBERS = {
    "WebId", "Id", "Name", "Path", "Descriptor", "PointClass", "PointType", "DigitalSetName", "EngineeringUnits",
    "Span", "Zero", "Step", "Future", "DisplayDigits", "Links",
}  # fmt: skip


async def server_id(client) -> str:
    return (await client.get("dataservers"))["Items"][0]["WebId"]


async def test_home_leads_to_servers_and_system(serve):
    async with serve() as client:
        home = await client.get("")
        assert home["Links"]["DataServers"] == f"{client.url}/dataservers"
        system = await client.get("system")
        assert system["ProductVersion"] == "1.13.0.6298"
        assert system["Links"]["UserInfo"] == f"{client.url}/system/userinfo"
        assert (await client.get("system/status"))["ServerTime"] == "2024-03-05T12:00:00Z"
        assert (await client.get("system/configuration"))["MaxReturnedItemsPerCall"] == 150_000
        assert await client.get("system/userinfo", expect=204) is None
        assert "FullVersion" in next(iter((await client.get("system/versions")).values()))
        assert (await client.get("system/cacheinstances"))["Items"][0]["User"]


async def test_the_server_is_found_by_list_name_path_and_webid(serve):
    async with serve() as client:
        listed = (await client.get("dataservers"))["Items"][0]
        assert listed["WebId"] == "F1DScQo8XkQrbk-dEAx74aLzAQU0lNREE"
        assert listed["Path"] == "\\\\PIServers[SIMDA]"
        assert await client.get("dataservers", name="simda") == listed
        assert await client.get("dataservers", path="\\\\SIMDA") == listed
        assert await client.get("dataservers", path="\\\\PIServers[SIMDA]") == listed
        assert await client.get(f"dataservers/{listed['WebId']}") == listed
        assert "Errors" in await client.get("dataservers", name="OTHER", expect=404)


async def test_following_next_visits_every_point_once(serve):
    async with serve(tags=250) as client:
        path = f"dataservers/{await server_id(client)}/points?maxCount=100&webIdType=IDOnly"
        found, pages = [], 0
        while path:
            page = await client.get(path)
            found += page["Items"]
            pages += 1
            following = page["Links"].get("Next", "")
            path = following.removeprefix(f"{client.url}/")
        assert pages == 3
        assert [item["Name"] for item in found] == [name_of(client.simulator.options, index) for index in range(250)]
        assert all(set(item) == POINT_MEMBERS for item in found)
        assert set(page["Links"]) == {"First", "Previous", "Last"}


async def test_paging_past_the_end_is_an_empty_page(serve):
    async with serve() as client:
        path = f"dataservers/{await server_id(client)}/points"
        assert (await client.get(path, startIndex=60))["Items"] == []
        trimmed = await client.get(path, selectedFields="Items.WebId;Items.PointType", maxCount=5)
        assert [set(item) for item in trimmed["Items"]] == [{"WebId", "PointType"}] * 5
        assert "Links" not in trimmed


async def test_name_and_source_filters(serve):
    async with serve(tags=250) as client:
        path = f"dataservers/{await server_id(client)}/points"
        found = await client.get(path, nameFilter="unit0003.*", selectedFields="Items.Name")
        assert len(found["Items"]) == 50
        assert (await client.get(path, nameFilter="Nothing*"))["Items"] == []
        assert (await client.get(path, sourceFilter="X*"))["Items"] == []
        assert len((await client.get(path, sourceFilter="R*", maxCount=7))["Items"]) == 7


async def test_a_point_is_found_by_path_and_by_every_kind_of_webid(serve):
    async with serve(tags=100) as client:
        simulator = client.simulator
        for index in (0, 7, 96):
            by_path = await client.get("points", path=f"\\\\simda\\{name_of(simulator.options, index).upper()}")
            assert by_path["Id"] == 1001 + index
            assert by_path["PointType"] == point(simulator.options, index).type
            for kind in "FIPLD":
                assert await client.get(f"points/{simulator.web_id(index, kind)}") == by_path
        only = await client.get(f"points/{simulator.web_id(3)}", webIdType="IDOnly", selectedFields="WebId")
        assert only == {"WebId": simulator.web_id(3)}
        assert await client.get("points", path="\\\\SIMDA\\Nope", expect=404) == {
            "Errors": ["PI Point not found 'Nope'."]
        }
        assert "Errors" in await client.get(f"points/{simulator.web_id(0)}", webIdType="Short", expect=400)


async def test_multiple_says_which_failed(serve):
    async with serve() as client:
        good, bad = client.simulator.web_id(1), "I1DPcQo8XkQrbk-dEAx74aLzAQ____fw"
        assert len((await client.get("points/multiple", webId=[good]))["Items"]) == 1
        answer = await client.get("points/multiple", webId=[good, bad], expect=207)
        assert [item["Identifier"] for item in answer["Items"]] == [good, bad]
        assert answer["Items"][0]["Exception"] is None
        assert answer["Items"][1] == {
            "Identifier": bad,
            "IdentifierType": "WebId",
            "Object": None,
            "Exception": {"Errors": ["PI Point not found."]},
        }
        failed = await client.get("points/multiple", webId=[good, bad], includeMode="ItemsWithException", expect=207)
        assert [item["Identifier"] for item in failed["Items"]] == [bad]
        by_path = await client.get("points/multiple", path=["\\\\SIMDA\\Nope"], expect=207)
        assert by_path["Items"][0]["IdentifierType"] == "Path"


async def test_search_where_the_server_has_it(serve):
    async with serve(tags=250) as client:
        found = await client.get("points/search", query="Tag:=Unit0001* PointType:=Digital")
        assert found["Items"]
        assert {item["PointType"] for item in found["Items"]} == {"Digital"}
        assert all(item["Name"].startswith("Unit0001.") for item in found["Items"])
        assert len((await client.get("points/search", query="000123"))["Items"]) == 1
        names = {item["Name"] for item in found["Items"]}
        for query in ("name:='Unit0001*' PointType:=Digital PointSource:=R", 'Tag:="Unit0001*" pointtype:="digital"'):
            assert {item["Name"] for item in (await client.get("points/search", query=query))["Items"]} == names
        assert not (await client.get("points/search", query="Tag:=* PointSource:=Other"))["Items"]
        everything = {item["Name"]: item for item in (await client.get("points/search", query="Tag:=*"))["Items"]}

        async def names_of(query: str) -> set[str]:
            return {item["Name"] for item in (await client.get("points/search", query=query))["Items"]}

        digital = {name for name, one in everything.items() if one["PointType"] == "Digital"}
        assert await names_of("PointType:Digital") == await names_of("datatype:=digital") == digital
        assert await names_of("PointType:<>Digital") == everything.keys() - digital
        assert await names_of("PointType:Digital OR Tag:='*1'") == digital | {n for n in everything if n.endswith("1")}
        assert await names_of("PointType:<>Digital AND Tag:*1") == {n for n in everything if n.endswith("1")} - digital
        assert "Errors" in await client.get("points/search", query="Colour:=red", expect=400)
        assert "Errors" in await client.get("points/search", query="x", maxCount=1001, expect=400)


async def test_point_attributes(serve):
    async with serve() as client:
        path = f"points/{client.simulator.web_id(0)}/attributes"
        names = [item["Name"] for item in (await client.get(path))["Items"]]
        assert {"pointsource", "excdev", "compdev", "compressing", "step", "scan"} <= set(names)
        assert (await client.get(f"{path}/pointsource"))["Value"] == "R"
        chosen = await client.get(path, name=["excdev", "compdev"], selectedFields="Items.Name")
        assert chosen == {"Items": [{"Name": "excdev"}, {"Name": "compdev"}]}
        assert len((await client.get(path, nameFilter="comp*"))["Items"]) == 4
        await client.get(path, name="nope", expect=400)
        await client.get(f"{path}/nope", expect=404)


async def test_digital_sets_hold_the_states_that_tags_show(serve):
    async with serve() as client:
        sets = (await client.get(f"dataservers/{await server_id(client)}/enumerationsets"))["Items"]
        assert [item["Name"] for item in sets] == ["SYSTEM", "Pump", "Valve", "Mode"]
        states = {}
        for item in sets:
            assert await client.get(f"enumerationsets/{item['WebId']}") == item
            assert await client.get("enumerationsets", path=item["Path"]) == item
            values = (await client.get(f"enumerationsets/{item['WebId']}/enumerationvalues"))["Items"]
            states[item["Name"]] = {value["Name"]: value["Value"] for value in values}
        assert states["SYSTEM"]["I/O Timeout"] == 246
        options = client.simulator.options
        index = next(index for index in range(60) if point(options, index).type == "Digital")
        known = states[point(options, index).digital_set] | states["SYSTEM"]
        answer = await client.get(f"streams/{client.simulator.web_id(index)}/recorded", selectedFields="Items.Value")
        shown = [item["Value"] for item in answer["Items"] if item["Value"]]
        assert all(known[value["Name"]] == value["Value"] for value in shown)
        await client.get("enumerationsets/I1MSDcQo8XkQrbk-dEAx74aLzAQYwAAAA", expect=404)


async def test_every_digital_point_names_a_set_that_holds_its_states(serve):
    async with serve() as client:
        client.simulator.change(
            {"tag": 0, "action": "retype", "type": "Digital", "digital_set": "Mode", "at": "2024-03-05T11:00:00Z"},
            {"tag": "New", "action": "create_point", "type": "Digital", "at": "2024-03-05T10:00:00Z"},
        )
        server = await server_id(client)
        known = {}
        for item in (await client.get(f"dataservers/{server}/enumerationsets"))["Items"]:
            values = (await client.get(f"enumerationsets/{item['WebId']}/enumerationvalues"))["Items"]
            known[item["Name"]] = {(value["Name"], value["Value"]) for value in values}
        points = (await client.get(f"dataservers/{server}/points", maxCount=100))["Items"]
        digital = [point for point in points if point["PointType"] == "Digital"]
        assert {points[0]["WebId"], points[-1]["WebId"]} <= {point["WebId"] for point in digital}
        assert all(point["DigitalSetName"] == "" for point in points if point not in digital)
        for shown in digital:
            attribute = await client.get(f"points/{shown['WebId']}/attributes/digitalset")
            assert attribute["Value"] == shown["DigitalSetName"]
            answer = await client.get(f"streams/{shown['WebId']}/recorded", startTime="*-1h")
            states = [event["Value"] for event in answer["Items"] if isinstance(event["Value"], dict)]
            own = {(state["Name"], state["Value"]) for state in states if not state["IsSystem"]}
            assert own
            assert own <= known[shown["DigitalSetName"]]
            assert {(state["Name"], state["Value"]) for state in states if state["IsSystem"]} <= known["SYSTEM"]


async def test_an_unknown_route_is_a_501_and_is_remembered(serve):
    async with serve() as client:
        assert "Message" in await client.get("channels/instances", expect=501)
        assert list(client.simulator.requests.unknown) == ["GET /piwebapi/channels/instances"]
        async with client.session.post(f"{client.url}/system") as answer:
            assert answer.status == 405


async def test_the_log_counts_by_route_and_stays_bounded(serve):
    async with serve() as client:
        for number in range(3):
            await client.get(f"streams/{client.simulator.web_id(number)}/value")
        for number in range(150):
            await client.get(f"nowhere/{number}", expect=501)
        assert client.simulator.requests.routes == {"streams/*/value": 3, "unknown": 150}
        assert len(client.simulator.requests.unknown) == 100
        assert client.simulator.stats["requests"] == 153
        assert client.simulator.stats["statuses"] == {200: 3, 501: 150}


@pytest.mark.parametrize(
    ("web_id", "kind", "marker", "numbers", "path"),
    [
        ("I1DPcQo8XkQrbk-dEAx74aLzAQEgQAAA", "I", "DP", (1042,), "\\\\SIMDA\\Unit1.Flow"),
        ("F1DScQo8XkQrbk-dEAx74aLzAQU0lNREE", "F", "DS", (), "\\\\SIMDA"),
    ],
)
def test_webids_are_made_as_the_vendor_makes_them(web_id, kind, marker, numbers, path):
    assert encode(kind, marker, numbers, path) == web_id
    assert (decode(web_id).marker, decode(web_id).numbers) == (marker, numbers)
