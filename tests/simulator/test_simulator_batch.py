"""POST /batch: every part has its own fate."""

import json

from engine.simulator import FaultPlan


def get(resource: str, **more) -> dict:
    return {"Method": "GET", "Resource": resource, **more}


async def test_parts_answer_as_they_would_alone(serve):
    async with serve() as client:
        ids = [client.simulator.web_id(index) for index in range(30)]
        resources = {
            f"r{number}": f"streams/{web_id}/recorded?startTime=*-1h&maxCount=50" for number, web_id in enumerate(ids)
        } | {"v": f"streams/{ids[0]}/value", "set": f"streamsets/value?webId={ids[0]}&webId={ids[1]}", "s": "system"}
        answer = await client.batch({name: get(resource) for name, resource in resources.items()})
        assert set(answer) == set(resources)
        for name, resource in resources.items():
            assert answer[name]["Status"] == 200
            assert answer[name]["Headers"] == {"Content-Type": "application/json; charset=utf-8"}
            assert repr(answer[name]["Content"]) == repr(await client.get(resource))


async def test_the_host_of_a_resource_does_not_matter(serve):
    async with serve() as client:
        path = f"streams/{client.simulator.web_id(0)}/recorded?maxCount=3"
        forms = (path, f"/{path}", f"/piwebapi/{path}", f"https://elsewhere/piwebapi/{path}", f"{client.url}/{path}")
        answer = await client.batch({str(number): get(form) for number, form in enumerate(forms)})
        assert {part["Status"] for part in answer.values()} == {200}
        assert len({json.dumps(part["Content"]) for part in answer.values()}) == 1


async def test_children_take_ids_from_their_parents(serve):
    async with serve() as client:
        server = (await client.get("dataservers"))["Items"][0]["WebId"]
        answer = await client.batch(
            {
                "values": {
                    "Method": "GET",
                    "RequestTemplate": {"Resource": "https://sim/piwebapi/streams/{0}/value?selectedFields=Value"},
                    "Parameters": ["$.pts.Content.Items[*].WebId"],
                    "ParentIds": ["pts"],
                },
                "second": get(
                    "streams/{0}/end?selectedFields=Value",
                    Parameters=["$['pts'].Content.Items[1].WebId"],
                    ParentIds=["pts"],
                ),
                "pts": get(f"dataservers/{server}/points?maxCount=3&selectedFields=Items.WebId"),
            }
        )
        assert answer["values"]["Status"] == 207
        items = answer["values"]["Content"]["Items"]
        assert [set(item) for item in items] == [{"Status", "Headers", "Content"}] * 3
        for index, item in enumerate(items):
            path = f"streams/{client.simulator.web_id(index)}/value"
            assert repr(item["Content"]) == repr(await client.get(path, selectedFields="Value"))
        assert repr(answer["second"]["Content"]) == repr(items[1]["Content"])


async def test_failed_parents_and_empty_paths_answer_with_bare_strings(serve):
    async with serve() as client:
        server = (await client.get("dataservers"))["Items"][0]["WebId"]
        answer = await client.batch(
            {
                "bad": get(f"streams/{client.simulator.web_id(0)}/recorded?startTime=nonsense"),
                "child": get("streams/{0}/end", Parameters=["$.bad.Content.WebId"], ParentIds=["bad"]),
                "none": get(f"dataservers/{server}/points?nameFilter=nothing*"),
                "heir": get("streams/{0}/end", Parameters=["$.none.Content.Items[*].WebId"], ParentIds=["none"]),
                "stranger": get("streams/{0}/end", Parameters=["$.bad.Content.WebId"], ParentIds=["none"]),
            }
        )
        assert answer["bad"]["Status"] == 400
        assert answer["bad"]["Content"] == {"Errors": ["The time string 'nonsense' is not valid."]}
        assert answer["child"] == {
            "Status": 409,
            "Headers": {},
            "Content": "The following ParentIds did not complete successfully: bad.",
        }
        assert answer["heir"] == {
            "Status": 400,
            "Headers": {},
            "Content": "Some JSON paths did not select any tokens: $.none.Content.Items[*].WebId.",
        }
        assert answer["stranger"]["Status"] == 400


async def test_a_json_path_beyond_us_is_a_501_and_is_remembered_instead_of_selecting_nothing(serve):
    async with serve() as client:
        path = "$.servers.Content.Items[?(@.Name=='SIMDA')].WebId"
        answer = await client.batch(
            {
                "servers": get("dataservers"),
                "points": get("dataservers/{0}/points", Parameters=[path], ParentIds=["servers"]),
            }
        )
        assert answer["points"]["Status"] == 501
        assert path in answer["points"]["Content"]["Message"]
        assert list(client.simulator.requests.unknown) == [f"JSONPath {path}"]


async def test_other_methods_and_unknown_routes_fail_alone(serve):
    async with serve() as client:
        path = f"streams/{client.simulator.web_id(0)}/value"
        answer = await client.batch(
            {"post": {"Method": "POST", "Resource": path, "Content": "{}"}, "x": get("nope/1/2")}
        )
        assert (answer["post"]["Status"], answer["x"]["Status"]) == (405, 501)
        assert "Message" in answer["post"]["Content"]


async def test_a_malformed_batch_fails_as_a_whole(serve):
    async with serve() as client:
        path = f"streams/{client.simulator.web_id(0)}/value"
        for parts in (
            {"a": {"Method": "GET", "Resource": path, "Content": {"not": "a string"}}},
            {"a": {"Method": "GET"}},
            {"a": get(path, ParentIds=["b"])},
            {"a": get(path, ParentIds=["b"]), "b": get(path, ParentIds=["a"])},
            ["a list"],
        ):
            error = await client.batch(parts, expect=400)
            assert "Errors" in error or "Message" in error
        async with client.session.get(f"{client.url}/batch") as answer:
            assert answer.status == 405


async def test_switches_bound_or_remove_the_batch(serve):
    async with serve(faults=FaultPlan.from_dict({"switches": {"batch_max_items": 2}})) as client:
        part = get("system")
        assert len(await client.batch({"a": part, "b": part})) == 2
        assert "maximum allowed (2)" in (await client.batch({"a": part, "b": part, "c": part}, expect=400))["Errors"][0]
    async with serve(faults=FaultPlan.from_dict({"switches": {"batch": False}})) as client:
        assert "Message" in await client.batch({"a": part}, expect=404)


async def test_another_process_learns_how_many_requests_there_were(serve):
    async with serve() as client:
        await client.get("dataservers")
        await client.batch(
            {"a": {"Method": "GET", "Resource": f"{client.url}/dataservers"}, "b": {"Resource": "dataservers"}}
        )
        told = await client.control("requests")
        assert (told["Requests"], told["Parts"]) == (2, 2)
        told = await client.control("requests")
        assert (told["Requests"], told["Parts"]) == (2, 2)
