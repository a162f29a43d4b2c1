"""What a wheel is made of, as CycloneDX 1.6: setup.py puts it into every wheel it builds (PEP 770).

What was compiled into the modules is a component; the compiler, which worked on them, and the C library, which is found
on the user's machine, are none. Two builds of the same sources make the same bytes: no serial number, and the time is
that of SOURCE_DATE_EPOCH or absent.
"""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from typing import Any

PLACE = "sboms/iotwire.cdx.json"  # below the wheel's .dist-info


def component(name: str, version: str, licence: str, description: str) -> dict[str, Any]:
    """A package from PyPI, as one entry."""
    purl = f"pkg:pypi/{name.lower()}@{version}"
    return {
        "type": "library",
        "bom-ref": purl,
        "name": name,
        "version": version,
        "description": description,
        "licenses": [{"expression": licence}],
        "purl": purl,
    }


def bill_of_materials(product: dict[str, Any], compiled_in: list[dict[str, Any]]) -> str:
    """The document for a product and the components that are compiled into it."""
    metadata: dict[str, Any] = {"component": product}
    if epoch := os.environ.get("SOURCE_DATE_EPOCH"):
        metadata["timestamp"] = datetime.fromtimestamp(int(epoch), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    document = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": metadata,
        "components": compiled_in,
        "dependencies": [
            {"ref": product["bom-ref"], "dependsOn": [part["bom-ref"] for part in compiled_in]},
            *({"ref": part["bom-ref"]} for part in compiled_in),
        ],
    }
    return json.dumps(document, indent=2) + "\n"


def bill_of_a_wheel(name: str, version: str, licence: str, description: str) -> str:
    """The document for a wheel that is being built here: every module carries run-time code of the Cython at hand."""
    from Cython import __version__ as cython_version

    cython = component("Cython", cython_version, "Apache-2.0", "The run-time code that Cython writes into every module")
    return bill_of_materials(component(name, version, licence, description), [cython])
