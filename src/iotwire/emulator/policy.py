"""AWS IoT Core policies: whether documents in its policy language allow an action on a resource.

Statements with Effect, Action and Resource, the wildcards `*` (any text, `/` included) and `?` (one character), and
variables of the connection such as `${iot:ClientId}`. What is not evaluated here (Condition, NotAction, NotResource,
Principal) is refused when a policy is read: a rule that is passed over is no rule. No socket and no clock in here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import IotwireError

__all__ = ["ALLOW_ALL", "MAX_DOCUMENTS", "MAX_DOCUMENT_CHARACTERS", "Policy", "PolicyError"]

# Of what an authorizer may answer with (AWS IoT Core, "Defining your Lambda function").
MAX_DOCUMENTS = 10
MAX_DOCUMENT_CHARACTERS = 2048

VERSIONS = ("2012-10-17", "2008-10-17")
_VARIABLE = re.compile(r"\$\{([^{}]*)\}")
# `${*}`, `${?}` and `${$}` stand for the characters themselves.
_LITERALS = {"*", "?", "$"}


class PolicyError(IotwireError, ValueError):
    """A policy that cannot be evaluated; the message says where in it, and what is expected."""


@dataclass(frozen=True, slots=True)
class _Statement:
    allows: bool
    actions: tuple[str, ...]  # in small letters
    resources: tuple[str, ...]

    def applies_to(self, action: str, resource: str, variables: Mapping[str, str]) -> bool:
        return any(_fits(_tokens(each), action.lower()) for each in self.actions) and any(
            _matches(each, resource, variables) for each in self.resources
        )


class Policy:
    """Policy documents, read once. Immutable.

    documents: each as JSON text or as what that stands for. Raises PolicyError where one cannot be evaluated.
    """

    __slots__ = ("_allows_all", "_statements")

    def __init__(self, *documents: str | Mapping[str, Any]) -> None:
        self._statements = tuple(each for document in documents for each in _read_document(document))
        self._allows_all = all(each.allows for each in self._statements) and any(
            "*" in each.resources and {"*", "iot:*"}.intersection(each.actions) for each in self._statements
        )

    @classmethod
    def of_answer(cls, documents: object) -> Policy:
        """What an authorizer has answered with as `policyDocuments`. Raises PolicyError beyond the service's limits."""
        if not isinstance(documents, (list, tuple)) or not 1 <= len(documents) <= MAX_DOCUMENTS:
            raise PolicyError(f"policyDocuments: a list of 1 to {MAX_DOCUMENTS} documents is expected")
        for document in documents:
            if isinstance(document, str) and len(document) > MAX_DOCUMENT_CHARACTERS:
                raise PolicyError(f"policyDocuments: a document has at most {MAX_DOCUMENT_CHARACTERS} characters")
        return cls(*documents)

    def allows(self, action: str, resource: str, variables: Mapping[str, str] | None = None) -> bool:
        """Whether an action such as "iot:Publish" on a resource's ARN is allowed: by a statement, and denied by none.

        variables: what the connection's variables stand for, by their names, such as {"iot:ClientId": "pump"}. A
        resource with another variable matches nothing.
        """
        if self._allows_all:
            return True
        is_allowed = False
        for statement in self._statements:
            if statement.applies_to(action, resource, variables or {}):
                if not statement.allows:
                    return False
                is_allowed = True
        return is_allowed


def _read_document(document: object) -> list[_Statement]:
    if isinstance(document, str):
        try:
            document = json.loads(document)
        except (ValueError, RecursionError):
            raise PolicyError("policy: JSON is expected") from None
    if not isinstance(document, Mapping):
        raise PolicyError(f"policy: an object is expected, not a {type(document).__name__}")
    if document.get("Version", VERSIONS[0]) not in VERSIONS:
        raise PolicyError(f"Version: {VERSIONS[0]} is expected")
    statements = document.get("Statement")
    if isinstance(statements, Mapping):
        statements = [statements]
    if not isinstance(statements, (list, tuple)):
        raise PolicyError("Statement: one statement or a list of them is expected")
    return [_read_statement(each) for each in statements]


def _read_statement(statement: object) -> _Statement:
    if not isinstance(statement, Mapping):
        raise PolicyError("Statement: an object is expected")
    for name in statement:
        if name not in ("Sid", "Effect", "Action", "Resource"):
            raise PolicyError(f"Statement: {name} is not evaluated here; Effect, Action and Resource are")
    effect = statement.get("Effect")
    if effect not in ("Allow", "Deny"):
        raise PolicyError("Effect: Allow or Deny is expected")
    actions = tuple(each.lower() for each in _read_texts(statement, "Action"))
    return _Statement(effect == "Allow", actions, tuple(_read_texts(statement, "Resource")))


def _read_texts(statement: Mapping[str, Any], name: str) -> list[str]:
    value = statement.get(name)
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, (list, tuple)) or not texts or not all(isinstance(each, str) and each for each in texts):
        raise PolicyError(f"{name}: a string or a list of strings is expected")
    # A run of `*` means what one means, and is slow to match.
    return [re.sub(r"\*+", "*", each) for each in texts]


def _matches(pattern: str, text: str, variables: Mapping[str, str]) -> bool:
    """Whether a pattern with wildcards and variables fits all of a text.

    Not by a regular expression: a pattern of many `*` would take time without bound, and documents are strangers'.
    What a variable stands for is text, whatever characters it has: a client called `*` does not get everything.
    """
    tokens: list[str | None] = []  # a character as it is; "" for any one; None for any number
    position = 0
    for found in _VARIABLE.finditer(pattern):
        tokens += _tokens(pattern[position : found.start()])
        name = found[1]
        value = name if name in _LITERALS else variables.get(name)
        if value is None:
            return False
        tokens += value
        position = found.end()
    tokens += _tokens(pattern[position:])
    return _fits(tokens, text)


def _tokens(text: str) -> list[str | None]:
    return [None if each == "*" else "" if each == "?" else each for each in text]


def _fits(tokens: list[str | None], text: str) -> bool:
    """Greedy, going back to the latest `*` alone: at most len(tokens) * len(text) steps."""
    at = position = 0
    star, star_position = -1, 0
    while position < len(text):
        token = tokens[at] if at < len(tokens) else ()
        if token is None:
            star, star_position = at, position
            at += 1
        elif token in ("", text[position]):
            at += 1
            position += 1
        elif star >= 0:
            star_position += 1
            at, position = star + 1, star_position
        else:
            return False
    return all(each is None for each in tokens[at:])


ALLOW_ALL = Policy({"Version": VERSIONS[0], "Statement": {"Effect": "Allow", "Action": "iot:*", "Resource": "*"}})
