"""The rules that the workflows keep. They run elsewhere only, so what they call has to be something that runs here too.

actionlint and zizmor (`make lint-workflows`) judge them as everybody's workflows; this is what holds for ours.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from test_cibuildwheel import PLATFORMS, PYTHONS, identifiers

from support import CHECKOUT, absent

try:
    import yaml
except ImportError:
    absent("release-tools", "PyYAML is not installed (extra: workflows)")

WORKFLOWS = sorted((CHECKOUT / ".github" / "workflows").glob("*.yml"))
if not WORKFLOWS:
    absent("release-tools", "this is not a checkout: there are no workflows")

MAKEFILE = (CHECKOUT / "Makefile").read_text()
TARGETS = set(re.findall(r"^([a-z][a-z-]*):", MAKEFILE, flags=re.MULTILINE))
RECIPES = {line.removeprefix("\t") for line in MAKEFILE.splitlines() if line.startswith("\t")}

DOCUMENTS = {path.stem: yaml.safe_load(path.read_text()) for path in WORKFLOWS}
JOBS = {f"{workflow}/{name}": job for workflow, document in DOCUMENTS.items() for name, job in document["jobs"].items()}
STEPS = [(name, step) for name, job in JOBS.items() for step in job["steps"]]
COMMANDS = sorted({step["run"] for _, step in STEPS if "run" in step})
USES = sorted({line.strip(" -") for path in WORKFLOWS for line in path.read_text().splitlines() if "uses:" in line})

each_workflow = pytest.mark.parametrize("workflow", DOCUMENTS)
each_job = pytest.mark.parametrize("name", JOBS)


@pytest.mark.parametrize("line", USES)
def test_an_action_is_pinned_to_a_hash_and_says_which_version_that_is(line: str) -> None:
    assert re.fullmatch(r"uses: [\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line)


def test_every_workflow_pins_an_action_to_the_same_version() -> None:
    actions = [line.partition("@")[0] for line in USES]
    assert len(actions) == len(set(actions))


@each_workflow
def test_a_workflow_may_do_nothing_by_itself(workflow: str) -> None:
    assert DOCUMENTS[workflow]["permissions"] == {}


@each_job
def test_a_job_may_read_the_sources_and_only_the_publishing_one_more(name: str) -> None:
    publishing = {"id-token": "write", "attestations": "write"}
    assert JOBS[name]["permissions"] == (publishing if name == "wheels/publish" else {"contents": "read"})


@each_job
def test_a_job_ends_by_itself_when_it_hangs(name: str) -> None:
    assert 0 < JOBS[name]["timeout-minutes"] < 360


def test_no_checkout_leaves_a_password_behind() -> None:
    checkouts = [step for _, step in STEPS if step.get("uses", "").startswith("actions/checkout@")]
    assert checkouts
    assert all(step["with"] == {"persist-credentials": False} for step in checkouts)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_step_runs_what_runs_at_home_too(command: str) -> None:
    assert "${{" not in command, "what an expression brings in could be a command"
    program, *arguments = shlex.split(command)
    if program == "make":
        targets = {argument for argument in arguments if "=" not in argument}
        assert targets
        assert targets <= TARGETS
    elif program.startswith("tools/"):
        assert not arguments
        assert (CHECKOUT / program).stat().st_mode & 0o111
    else:
        assert command.replace("python ", "$(PYTHON) ", 1) in RECIPES, "neither a target nor the recipe of one"


@each_job
def test_a_job_that_runs_anything_at_all_runs_make_or_a_recipe_of_it(name: str) -> None:
    commands = [step["run"] for step in JOBS[name]["steps"] if "run" in step]
    assert name == "wheels/publish" or commands[-1].startswith(("make ", "python tools/"))


def test_only_a_tag_publishes_and_only_what_was_checked() -> None:
    publish = JOBS["wheels/publish"]
    assert publish["if"] == "github.event_name == 'push' && startsWith(github.ref, 'refs/tags/v')"
    assert publish["environment"]["name"] == "pypi"
    assert publish["needs"] == "check"
    assert JOBS["wheels/check"]["needs"] == "wheels"
    assert not any("run" in step for step in publish["steps"]), "a secret is at hand there"


def test_every_python_is_tried_on_x86_64_and_on_arm() -> None:
    matrix = JOBS["ci/test"]["strategy"]["matrix"]
    assert matrix["os"] == ["ubuntu-24.04", "ubuntu-24.04-arm"]
    with_lock = [python.removeprefix("cp3") for python in PYTHONS if not python.endswith("t")]
    assert matrix["python"] == [f"3.{minor}" for minor in with_lock]


@pytest.mark.slow
@pytest.mark.parametrize("flavour", ["*", "cp311-* cp315-*"])
def test_the_jobs_together_make_every_wheel_once(flavour: str) -> None:
    matrix: dict[str, Any] = JOBS["wheels/wheels"]["strategy"]["matrix"]
    assert flavour in [row["build"] for row in matrix["flavour"]]
    system = {"ubuntu": "linux", "macos": "macos", "windows": "windows"}
    made = [
        identifier
        for row in matrix["platform"]
        for identifier in identifiers(
            system[row["os"].partition("-")[0]],
            row["architecture"],
            CIBW_BUILD=flavour,
            CIBW_SKIP=row.get("skip", ""),
        )
    ]
    pythons = PYTHONS if flavour == "*" else ["cp311", "cp315"]
    assert sorted(made) == sorted(f"{python}-{end}" for python in pythons for _, _, ends in PLATFORMS for end in ends)


def test_no_tool_is_asked_for_that_is_not_there() -> None:
    mentioned = set(re.findall(r"tools/[\w.-]+\.(?:sh|py)", MAKEFILE + (CHECKOUT / ".ci" / "run").read_text()))
    assert mentioned
    assert all(Path(CHECKOUT, tool).is_file() for tool in mentioned)
