"""AWS IoT Core policies as the emulator evaluates them: a table of what is allowed, and what cannot be read."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iotwire.emulator.policy import ALLOW_ALL, Policy, PolicyError

ARN = "arn:aws:iot:us-east-1:123456789012:"


def a_policy(*statements: tuple[str, Any, Any]) -> dict[str, Any]:
    """Effect, action and resource of each; a resource without "arn:" is one of this account."""

    def whole(resource: Any) -> Any:
        if isinstance(resource, list):
            return [whole(each) for each in resource]
        return resource if resource == "*" or resource.startswith("arn:") else ARN + resource

    return {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": effect, "Action": action, "Resource": whole(resource)} for effect, action, resource in statements
        ],
    }


PUMP = {"iot:ClientId": "pump", "iot:Connection.Thing.ThingName": "pump"}

TABLE = [
    # what, statements, action, resource, variables, allowed
    ("nothing is said", [], "iot:Publish", "topic/a", {}, False),
    ("said as it is", [("Allow", "iot:Publish", "topic/a")], "iot:Publish", "topic/a", {}, True),
    ("of another action", [("Allow", "iot:Publish", "topic/a")], "iot:Receive", "topic/a", {}, False),
    ("of another resource", [("Allow", "iot:Publish", "topic/a")], "iot:Publish", "topic/ab", {}, False),
    ("in other letters", [("Allow", "iot:Publish", "topic/a")], "iot:Publish", "topic/A", {}, False),
    ("an action in other letters", [("Allow", "IOT:publish", "topic/a")], "iot:Publish", "topic/a", {}, True),
    ("one of a list of actions", [("Allow", ["iot:Connect", "iot:Publish"], "*")], "iot:Publish", "topic/a", {}, True),
    ("one of a list of resources", [("Allow", "iot:*", ["topic/b", "topic/a"])], "iot:Publish", "topic/a", {}, True),
    ("every action", [("Allow", "*", "topic/a")], "iot:Publish", "topic/a", {}, True),
    ("actions of one kind", [("Allow", "iot:Pub*", "topic/a")], "iot:Publish", "topic/a", {}, True),
    ("a star over slashes", [("Allow", "iot:Publish", "topic/*")], "iot:Publish", "topic/a/b/c", {}, True),
    ("a star for nothing", [("Allow", "iot:Publish", "topic/a*")], "iot:Publish", "topic/a", {}, True),
    ("a star in the middle", [("Allow", "iot:Publish", "topic/*/end")], "iot:Publish", "topic/a/b/end", {}, True),
    ("a star in the middle, not", [("Allow", "iot:Publish", "topic/*/end")], "iot:Publish", "topic/a/ends", {}, False),
    ("a star must go back", [("Allow", "iot:Publish", "topic/*ab")], "iot:Publish", "topic/aab", {}, True),
    ("a question mark", [("Allow", "iot:Publish", "topic/?")], "iot:Publish", "topic/a", {}, True),
    ("a question mark for none", [("Allow", "iot:Publish", "topic/?")], "iot:Publish", "topic/", {}, False),
    ("a question mark for two", [("Allow", "iot:Publish", "topic/?")], "iot:Publish", "topic/ab", {}, False),
    ("of every region", [("Allow", "iot:Publish", "arn:aws:iot:*:*:topic/a")], "iot:Publish", "topic/a", {}, True),
    ("another account", [("Allow", "iot:*", "arn:aws:iot:*:999999999999:*")], "iot:Publish", "topic/a", {}, False),
    ("denied too", [("Allow", "*", "*"), ("Deny", "iot:Publish", "topic/a")], "iot:Publish", "topic/a", {}, False),
    ("denied before", [("Deny", "iot:Publish", "topic/a"), ("Allow", "*", "*")], "iot:Publish", "topic/a", {}, False),
    ("denied elsewhere", [("Deny", "iot:Publish", "topic/b"), ("Allow", "*", "*")], "iot:Publish", "topic/a", {}, True),
    ("a filter is text", [("Allow", "iot:Subscribe", "topicfilter/a/+")], "iot:Subscribe", "topicfilter/a/+", {}, True),
    (
        "and matches nothing",
        [("Allow", "iot:Subscribe", "topicfilter/a/+")],
        "iot:Subscribe",
        "topicfilter/a/b",
        {},
        False,
    ),
    (
        "a filter by a star",
        [("Allow", "iot:Subscribe", "topicfilter/a/*")],
        "iot:Subscribe",
        "topicfilter/a/#",
        {},
        True,
    ),
    ("own client id", [("Allow", "iot:Connect", "client/${iot:ClientId}")], "iot:Connect", "client/pump", PUMP, True),
    ("another's", [("Allow", "iot:Connect", "client/${iot:ClientId}")], "iot:Connect", "client/fan", PUMP, False),
    (
        "own topics",
        [("Allow", "iot:Publish", "topic/things/${iot:Connection.Thing.ThingName}/*")],
        "iot:Publish",
        "topic/things/pump/load",
        PUMP,
        True,
    ),
    (
        "a variable without a value",
        [("Allow", "iot:Publish", "topic/${iot:Connection.Thing.ThingName}*")],
        "iot:Publish",
        "topic/a",
        {"iot:ClientId": "pump"},
        False,
    ),
    (
        "an unknown variable",
        [("Allow", "iot:Publish", "topic/${iot:Unknown}")],
        "iot:Publish",
        "topic/${iot:Unknown}",
        PUMP,
        False,
    ),
    (
        "a client id is no wildcard",
        [("Allow", "iot:Publish", "topic/${iot:ClientId}")],
        "iot:Publish",
        "topic/anything",
        {"iot:ClientId": "*"},
        False,
    ),
    (
        "nor a variable",
        [("Allow", "iot:Publish", "topic/${iot:ClientId}")],
        "iot:Publish",
        "topic/pump",
        {"iot:ClientId": "${iot:Connection.Thing.ThingName}", "iot:Connection.Thing.ThingName": "pump"},
        False,
    ),
    ("a star meant as one", [("Allow", "iot:Publish", "topic/${*}")], "iot:Publish", "topic/*", {}, True),
    ("and nothing else", [("Allow", "iot:Publish", "topic/${*}")], "iot:Publish", "topic/a", {}, False),
    ("letters of patterns", [("Allow", "iot:Publish", "topic/a.c[x]")], "iot:Publish", "topic/abcx", {}, False),
    ("a topic of lines", [("Allow", "iot:Publish", "topic/*")], "iot:Publish", "topic/a\nb", {}, True),
]


@pytest.mark.parametrize(
    ("statements", "action", "resource", "variables", "is_allowed"),
    [row[1:] for row in TABLE],
    ids=[row[0] for row in TABLE],
)
@pytest.mark.parametrize("form", [lambda document: document, json.dumps], ids=["object", "text"])
def test_what_a_policy_allows(
    form: Any, statements: Any, action: str, resource: str, variables: dict[str, str], is_allowed: bool
) -> None:
    assert Policy(form(a_policy(*statements))).allows(action, ARN + resource, variables) is is_allowed


@given(pattern=st.text("ab/*?.+", min_size=1, max_size=12), text=st.text("ab/.+\n", max_size=12))
def test_wildcards_mean_what_a_regular_expression_says(pattern: str, text: str) -> None:
    policy = Policy({"Statement": {"Effect": "Allow", "Action": "iot:Publish", "Resource": pattern}})
    expression = "".join({"*": ".*", "?": "."}.get(each, re.escape(each)) for each in pattern)
    assert policy.allows("iot:Publish", text) is bool(re.fullmatch(expression, text, re.DOTALL))


def test_several_documents_are_one_policy() -> None:
    allowing, denying = a_policy(("Allow", "*", "*")), a_policy(("Deny", "iot:Connect", "client/fan"))
    assert Policy(allowing, denying).allows("iot:Connect", ARN + "client/pump")
    assert not Policy(allowing, denying).allows("iot:Connect", ARN + "client/fan")
    assert not Policy().allows("iot:Connect", ARN + "client/pump")
    assert ALLOW_ALL.allows("iot:Connect", ARN + "client/pump")


def test_one_statement_needs_no_list() -> None:
    statement = {"Effect": "Allow", "Action": "iot:Publish", "Resource": "*"}
    assert Policy({"Statement": statement}).allows("iot:Publish", ARN + "topic/a")


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("{", "JSON"),
        ("[" * 100_000, "JSON"),
        (7, "an object"),
        ("[]", "an object"),
        ({}, "Statement"),
        ({"Statement": "*"}, "Statement"),
        ({"Statement": [7]}, "Statement"),
        ({"Version": "2020-01-01", "Statement": []}, "Version"),
        ({"Statement": {"Effect": "allow", "Action": "*", "Resource": "*"}}, "Effect"),
        ({"Statement": {"Effect": "Allow", "Resource": "*"}}, "Action"),
        ({"Statement": {"Effect": "Allow", "Action": [], "Resource": "*"}}, "Action"),
        ({"Statement": {"Effect": "Allow", "Action": "*", "Resource": [""]}}, "Resource"),
        ({"Statement": {"Effect": "Allow", "Action": "*", "NotResource": "*"}}, "NotResource is not evaluated"),
        ({"Statement": {"Effect": "Deny", "Action": "*", "Resource": "*", "Condition": {}}}, "Condition is not"),
    ],
)
def test_a_policy_that_cannot_be_evaluated_is_refused(document: Any, message: str) -> None:
    with pytest.raises(PolicyError, match=message):
        Policy(document)


def test_an_authorizers_answer_has_ten_documents_at_most_and_none_too_long() -> None:
    document = a_policy(("Allow", "*", "*"))
    assert Policy.of_answer([document] * 10).allows("iot:Publish", ARN + "topic/a")
    for documents in ([document] * 11, [], None, document, json.dumps(document), [json.dumps(document) + " " * 2048]):
        with pytest.raises(PolicyError, match="policyDocuments"):
            Policy.of_answer(documents)


def test_a_policy_of_many_stars_takes_no_time_without_bound() -> None:
    started = time.monotonic()
    policy = Policy(a_policy(("Allow", ["i" + "*?" * 100 + "x", "*"], "topic/" + "*a" * 800 + "b")))
    assert not policy.allows("iot:Publish", ARN + "topic/" + "a" * 256)
    assert time.monotonic() - started < 10
