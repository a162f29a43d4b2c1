"""Signature Version 4 against vectors that nobody here made: AWS's signing test suite, and URLs of other signers."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from iotwire.sigv4 import Credentials, Signer, canonical_request, presign_mqtt_url, string_to_sign, verify_request
from support import find_shared_vectors, shared_vectors_folder

SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"


def vectors(name: str) -> list[dict[str, Any]]:
    """The rows of a file of shared vectors; none where they are absent, of which a test tells."""
    folder = find_shared_vectors()
    path = folder / "sigv4" / name if folder else None
    return [json.loads(line) for line in path.read_text().splitlines()] if path and path.exists() else []


CASES = vectors("cases.jsonl")
PRESIGNED = vectors("presigned_wss.jsonl")


def test_the_shared_vectors_are_there() -> None:
    shared_vectors_folder()
    assert len(CASES) == 18
    assert len(PRESIGNED) == 40


def time_of(text: str) -> datetime:
    return datetime.strptime(text.replace("-", "").replace(":", ""), "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)


@dataclass(frozen=True)
class SuiteRequest:
    """A request of the suite, as its text says."""

    method: str
    url: str
    headers: list[tuple[str, str]]
    body: bytes

    @classmethod
    def read(cls, text: str) -> SuiteRequest:
        head, _, body = text.partition("\n\n")
        first, *lines = head.rstrip("\n").split("\n")
        method, _, rest = first.partition(" ")
        headers: list[tuple[str, str]] = []
        for line in lines:
            if line[0] in " \t":
                name, value = headers.pop()
                headers.append((name, f"{value}\n{line}"))
            else:
                name, _, value = line.partition(":")
                headers.append((name, value))
        host = next(value for name, value in headers if name == "Host")
        return cls(method, f"https://{host}{rest.rpartition(' ')[0]}", headers, body.encode())


@dataclass(frozen=True)
class Setting:
    """The context of a case: with what, for whom and when."""

    signer: Signer
    credentials: Credentials
    now: datetime
    expires: int
    sign_token: bool
    normalize: bool

    @classmethod
    def read(cls, context: dict[str, Any]) -> Setting:
        given = context["credentials"]
        return cls(
            Signer(
                context["region"],
                context["service"],
                normalize_path=context["normalize"],
                content_sha256_header=context["sign_body"],
            ),
            Credentials(given["access_key_id"], given["secret_access_key"], given.get("token")),
            time_of(context["timestamp"]),
            context["expiration_in_seconds"],
            not context.get("omit_session_token", False),
            context["normalize"],
        )


EACH_CASE = pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])


@EACH_CASE
def test_headers_of_the_suite_are_signed_as_it_says(case: dict[str, Any]) -> None:
    request, setting = SuiteRequest.read(case["request"]), Setting.read(case["context"])
    added = setting.signer.sign_headers(
        request.method,
        request.url,
        request.headers,
        request.body,
        setting.credentials,
        now=setting.now,
        sign_session_token=setting.sign_token,
    )
    wanted = [line for line in case["header"]["signed_request"].split("\n") if line.startswith("Authorization:")]
    assert [f"Authorization:{added['Authorization']}"] == wanted
    assert added.get("X-Amz-Security-Token") == setting.credentials.session_token

    sent = [*request.headers, *added.items()]
    signed = [pair for pair in sent if setting.sign_token or pair[0] != "X-Amz-Security-Token"]
    canonical = canonical_request(request.method, request.url, signed, request.body, normalize_path=setting.normalize)
    assert canonical == case["header"]["canonical_request"]
    text = string_to_sign(canonical, setting.now, setting.signer.region, setting.signer.service)
    assert text == case["header"]["string_to_sign"]

    verified = verify_request(
        request.method,
        request.url,
        sent,
        request.body,
        {setting.credentials.access_key_id: setting.credentials}.get,
        now=setting.now,
        normalize_path=setting.normalize,
    )
    assert not verified.presigned


@EACH_CASE
def test_urls_of_the_suite_are_presigned_as_it_says(case: dict[str, Any]) -> None:
    request, setting = SuiteRequest.read(case["request"]), Setting.read(case["context"])
    url = setting.signer.presign_url(
        request.method,
        request.url,
        setting.credentials,
        now=setting.now,
        expires=setting.expires,
        sign_session_token=setting.sign_token,
        headers=request.headers,
        body=request.body,
    )
    parameters = url.partition("?")[2].split("&")
    assert f"X-Amz-Signature={case['query']['signature']}" in parameters
    target = case["query"]["signed_request"].split("\n")[0].split(" ", 1)[1].rpartition(" ")[0]
    assert sorted(parameters) == sorted(target.partition("?")[2].split("&"))

    signed = url if setting.sign_token else url.partition("&X-Amz-Security-Token=")[0]
    canonical = canonical_request(
        request.method, signed, request.headers, request.body, normalize_path=setting.normalize
    )
    assert canonical == case["query"]["canonical_request"]
    text = string_to_sign(canonical, setting.now, setting.signer.region, setting.signer.service)
    assert text == case["query"]["string_to_sign"]

    verified = verify_request(
        request.method,
        url,
        request.headers,
        request.body,
        {setting.credentials.access_key_id: setting.credentials}.get,
        now=setting.now,
        normalize_path=setting.normalize,
    )
    assert verified.presigned
    assert verified.expires_s == setting.expires


@pytest.mark.parametrize(
    "row", PRESIGNED, ids=lambda row: f"{row['region']}-{row['port']}-{row['time']}-{row['expires']}"
)
def test_presigned_urls_are_those_of_other_signers_to_the_letter(row: dict[str, Any]) -> None:
    credentials = Credentials(row["access_key"], row["secret_key"], row["token"])
    url = presign_mqtt_url(
        row["host"], row["region"], credentials, now=time_of(row["time"]), port=row["port"], expires=row["expires"]
    )
    assert url == row["botocore"]
    if row.get("sdk_v1_signed_host") == row["signed_host"]:  # where it is not, AWSIoTPythonSDK has left the port out
        # All but the token, in which it leaves '/' raw.
        ours, theirs = (one.partition("?")[2].partition("&X-Amz-Security-Token=")[0] for one in (url, row["sdk_v1"]))
        assert ours == theirs
    verified = verify_request(
        "GET",
        url,
        [("Host", row["signed_host"])],
        b"",
        {row["access_key"]: credentials}.get,
        now=time_of(row["time"]),
        region=row["region"],
        service="iotdevicegateway",
        sign_session_token=False,
    )
    assert verified.expires_s == row["expires"]


@pytest.mark.parametrize(
    ("expires", "signature"),
    [
        (None, "fd333605ebdb63e0b42ef6cecaa7d2f879efa1decca7189477987b379fb1811d"),
        (86400, "7ac8075e0c05d8babaf84611f2d87a337c590cb5ba2f4ca86d066c2764d3343a"),
    ],
)
def test_the_golden_values_of_the_facts_page(expires: int | None, signature: str) -> None:
    url = presign_mqtt_url(
        "a3qjEXAMPLEffp-ats.iot.us-west-2.amazonaws.com",
        "us-west-2",
        Credentials("AKIDEXAMPLE", SECRET),
        now=datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC),
        expires=expires,
    )
    assert url.endswith(f"&X-Amz-SignedHeaders=host&X-Amz-Signature={signature}")
    assert ("X-Amz-Expires" in url) == (expires is not None)


@pytest.mark.parametrize(
    ("wire", "canonical"),
    [
        ("/topics/sensors%2Froom1", "/topics/sensors%252Froom1"),
        ("/topics/a%20b", "/topics/a%2520b"),
        ("/topics/%C3%BC", "/topics/%25C3%25BC"),
        ("/topics/a%2F%2Fb", "/topics/a%252F%252Fb"),
    ],
)
def test_the_paths_of_the_facts_page_are_encoded_twice(wire: str, canonical: str) -> None:
    made = canonical_request("POST", f"https://iot.example{wire}?qos=1")
    assert made.split("\n")[:3] == ["POST", canonical, "qos=1"]
