"""Outages begun and ended while the simulator runs."""

import httpx
import pytest


def exchange(operator):
    try:
        return str(operator.upload(timeout=0.5).status_code)
    except httpx.ReadTimeout:
        return "silence"
    except (httpx.ReadError, httpx.RemoteProtocolError):
        return "reset"


@pytest.mark.parametrize(("kind", "seen"), [("refuse", "reset"), ("503", "503"), ("silence", "silence")])
def test_outage_strikes_all_until_it_is_ended(operator, kind, seen):
    """During an outage every request meets it and nothing is done; control goes on; after its end all is well."""
    operator.bearer()
    begun = operator.control("PUT", "outage", {"kind": kind})

    during = [exchange(operator), exchange(operator)]
    shown = operator.control("GET", "outage")
    held = operator.control("GET", "ledger/totals")["held"]
    operator.control("DELETE", "outage")

    assert (during, held) == ([seen, seen], 0)
    assert (begun["kind"], begun["until"], shown["arrived"]) == (kind, None, {"uploads": 2})
    assert exchange(operator) == "201"
    [told] = operator.control("GET", "ledger/totals")["outages"]
    assert told["until"] is not None
    assert (told["arrived"], len(told["arrivals"])) == ({"uploads": 2}, 2)


def test_outage_ends_by_itself(operator):
    """With seconds an outage needs nobody to end it; a 503 carries the Retry-After given."""
    operator.bearer()
    operator.control("POST", "outage", {"kind": "503", "seconds": 0.3, "retry_after": 1})

    refused = operator.upload()
    operator.until_control("outage", lambda found: found == {})

    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
    assert operator.upload().status_code == 201


def test_tokens_and_questions_meet_an_outage(operator):
    """Nobody is served: no token, no list. They count as reads."""
    operator.bearer()
    operator.control("PUT", "outage", {"kind": "503"})

    answers = (operator.ask_token(), operator.call("GET", "/v1/invoices?direction=SENT"))

    assert [answer.status_code for answer in answers] == [503, 503]
    assert operator.control("GET", "outage")["arrived"] == {"reads": 2}


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ({"kind": "storm"}, "kind is one of refuse, 503, silence"),
        ({}, "kind is one of"),
        ({"kind": "503", "seconds": 0}, "seconds is a number above 0"),
        ({"kind": "503", "minutes": 1}, "has no minutes"),
    ],
)
def test_wrong_outage_is_refused(operator, body, complaint):
    """A wrong outage answers 400, and none begins."""
    answer = operator.http.put("/_simulator/outage", json=body)

    assert answer.status_code == 400
    assert complaint in answer.json()["message"]
    assert operator.control("GET", "outage") == {}
