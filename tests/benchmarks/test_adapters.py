"""Each peer's adapter does what the interface says, in processes of its own. A peer that is not installed is skipped."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from benchmarks.peers.peer import NotOffered, Peer
from benchmarks.peers.registry import PEERS

CHECKOUT = Path(__file__).resolve().parents[2]
ADAPTERS = CHECKOUT / "benchmarks" / "peers" / "adapters"

FIRST = ["Grüße, 世界 🌍", 'a "quoted"\nline\u2028 and a \\ backslash', "the needle", " spaces ", "5", "null", "{}"]
FILLED = [f"filled {number}" for number in range(30)]
ALL = FIRST + FILLED
TITLE = "Ein Titel 🌍"
LACKING = "not offered: "


def play(store: Any) -> dict[str, Any]:
    """In a process of its own: everything that the interface has, and what was answered."""
    store.create("one")
    for number, text in enumerate(FIRST):
        store.append("one", ("user", "assistant")[number % 2], text)
    store.extend("one", [("user", text) for text in FILLED])
    answers = {"all": store.read_all("one"), "last": store.read_last("one", 20)}
    answers["search"] = asked(lambda: store.search("needle"))
    answers["title"] = asked(lambda: (store.set_title("one", TITLE), store.title("one"))[1])
    store.create("two")
    store.append("two", "user", "another session")
    answers["listed"] = asked(lambda: store.list_sessions(50))
    answers["listed one"] = asked(lambda: store.list_sessions(1))
    answers["fork"] = asked(lambda: fork(store))
    answers["two"] = store.read_all("two")
    return answers


def fork(store: Any) -> dict[str, list[str]]:
    store.fork("one", "fork")
    begins = store.read_all("fork")
    store.append("fork", "user", "on the fork")
    return {"begins": begins, "goes on": store.read_all("fork"), "forked": store.read_all("one")}


def look(store: Any) -> dict[str, Any]:
    """In another process, after the first one has ended."""
    answers = {"all": store.read_all("one"), "last": store.read_last("one", 20), "latest": store.read_last("one", 1)}
    answers["title"] = asked(lambda: store.title("one"))
    store.append("one", "user", "from another process")
    return answers | {"more": store.read_all("one"), "two": store.read_all("two")}


def asked(ask: Callable[[], Any]) -> Any:
    try:
        return ask()
    except NotOffered as lacking:
        return f"{LACKING}{lacking}"


def main(step: str, module: str, root: str) -> None:
    store = importlib.import_module(f"benchmarks.peers.adapters.{module}").Store(Path(root))
    answers = {"play": play, "look": look}[step](store)
    store.close()
    print(json.dumps(answers))


@cache
def answered(peer: Peer, root: Path) -> dict[str, dict[str, Any]]:
    return {step: run(step, peer, root) for step in ("play", "look")}


def run(step: str, peer: Peer, root: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.benchmarks.test_adapters", step, peer.module, str(root)]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    answers: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answers


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Peer], Path]:
    return cache(lambda peer: tmp_path_factory.mktemp(peer.module))


@pytest.fixture(params=PEERS, ids=lambda peer: peer.module)
def answers(request: pytest.FixtureRequest, folders: Callable[[Peer], Path]) -> dict[str, dict[str, Any]]:
    peer: Peer = request.param
    if peer.distribution:
        try:
            metadata.version(peer.distribution)
        except metadata.PackageNotFoundError:
            pytest.skip(f"{peer.distribution} is not installed")
    return answered(peer, folders(peer))


def offered(answer: Any) -> Any:
    if isinstance(answer, str) and answer.startswith(LACKING):
        assert answer != LACKING, "no reason is given"
        pytest.skip(answer)
    return answer


def test_what_was_appended_is_read_as_it_was(answers: dict[str, dict[str, Any]]) -> None:
    assert answers["play"]["all"] == ALL
    assert answers["play"]["two"] == ["another session"]


def test_the_last_messages_are_the_end_of_all(answers: dict[str, dict[str, Any]]) -> None:
    assert answers["play"]["last"] == ALL[-20:]


def test_another_process_reads_the_same_and_goes_on(answers: dict[str, dict[str, Any]]) -> None:
    look = answers["look"]
    assert look["all"] == ALL
    assert look["last"] == ALL[-20:]
    assert look["latest"] == ALL[-1:]
    assert look["more"] == [*ALL, "from another process"]
    assert look["two"] == ["another session"]


def test_a_fork_begins_with_all_messages_and_goes_its_own_way(answers: dict[str, dict[str, Any]]) -> None:
    fork = offered(answers["play"]["fork"])
    assert fork == {"begins": ALL, "goes on": [*ALL, "on the fork"], "forked": ALL}


def test_a_title_is_the_one_that_was_set_in_every_process(answers: dict[str, dict[str, Any]]) -> None:
    assert offered(answers["play"]["title"]) == TITLE
    assert answers["look"]["title"] == TITLE


def test_sessions_are_listed_and_no_more_than_asked_for(answers: dict[str, dict[str, Any]]) -> None:
    assert sorted(offered(answers["play"]["listed"])) == ["one", "two"]
    assert len(answers["play"]["listed one"]) == 1


def test_a_search_finds_the_word(answers: dict[str, dict[str, Any]]) -> None:
    assert offered(answers["play"]["search"]) == 1


def test_the_table_begins_with_hierstore_and_names_each_adapter_once() -> None:
    assert PEERS[0].name == "hierstore"
    assert len({peer.name for peer in PEERS}) == len({peer.module for peer in PEERS}) == len(PEERS)
    assert [peer.module for peer in PEERS if not (ADAPTERS / f"{peer.module}.py").is_file()] == []


def test_naming_the_peers_imports_none_of_them() -> None:
    script = "import sys, benchmarks.peers.registry; print([name for name in sys.modules if 'adapters' in name])"
    done = subprocess.run([sys.executable, "-c", script], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


if __name__ == "__main__":
    main(*sys.argv[1:])
