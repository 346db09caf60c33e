"""A second user of the machine, without rights: told so in a sentence that helps, and told nothing else."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hierstore import HierstoreError, InvalidRoot, ReadOnlyStore, SessionStore
from tests.access.work import WORK, filled
from tests.processes import Child
from tests.support import contents, texts

pytestmark = [
    pytest.mark.skipif(
        not hasattr(os, "geteuid") or os.geteuid() != 0,
        reason="needs two users, and so to be root (it changes its uid)",
    ),
    pytest.mark.damages,
]

OWNER, STRANGER, GROUP = 54321, 54322, 54320
SECRETS = ("gone", "the parent", "hello", "deleted", "secret")
"""What a stranger is to learn nothing of: ids, titles, messages, keys."""
ADVICE = re.compile(r"shared=True|ask (its|their) owner|chmod|folder of your own")


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that every user can reach (pytest's own are closed to others)."""
    made = Path(tempfile.mkdtemp(prefix="hierstore-access-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


def become(user: int, group: int, groups: list[int], home: str) -> None:
    """In a child: load all that is loaded when first needed, and be somebody else from here on."""
    with tempfile.TemporaryDirectory() as scratch:
        filled(Path(scratch) / "store")
        with SessionStore(Path(scratch) / "store") as store:
            for work in WORK.values():
                with contextlib.suppress(HierstoreError):
                    work(store)
    os.environ["XDG_CACHE_HOME"] = home
    os.setgroups(groups)
    os.setgid(group)
    os.setuid(user)
    os.umask(0o022)


@pytest.fixture
def people(start: Callable[[], Child], folder: Path) -> Callable[..., Child]:
    """Starts a process of a user."""

    def person(user: int, group: int | None = None, groups: tuple[int, ...] = ()) -> Child:
        home = folder / f"home-{user}"
        home.mkdir(exist_ok=True, mode=0o700)
        os.chown(home, user, group or user)
        child = start()
        child.call(become, user, group or user, list(groups), str(home))
        return child

    return person


def live(root: str, options: dict[str, Any]) -> None:
    """Fill a store."""
    filled(Path(root), **options)
    with SessionStore(root, **options) as store:
        store.create("secret-name", title="a secret title").append("user", "a secret")
        store.bind("secret-key", "secret-name")


def attempt(root: str, options: dict[str, Any]) -> tuple[str, str, dict[str, Any]]:
    """Open a store, and do all there is to do: the class, the sentence and the facts of what it is refused with."""
    try:
        SessionStore(root, **options).close()
    except HierstoreError as error:
        return type(error).__name__, str(error), dict(error.__dict__)
    return "opened", "", {}


def look_around(root: str) -> list[str]:
    """Every name below a folder that can be listed, and the text of every file that can be read."""
    seen = []
    for above, folders, names in os.walk(root):
        seen += [*folders, *names]
        for name in names:
            with contextlib.suppress(OSError):
                seen.append(Path(above, name).read_bytes().decode(errors="replace"))
    return seen


def owned_by(owner: int, folder: Path, people: Callable[..., Child], mode: int = 0o700, **options: Any) -> Path:
    root = folder / "store"
    root.mkdir()
    os.chown(root, owner, owner)
    root.chmod(mode)
    if owner:
        people(owner).call(live, str(root), options)
    else:
        live(str(root), options)
    return root


OPTIONS: list[dict[str, Any]] = [{}, {"read_only": True}, {"shared": True}, {"shared": True, "read_only": True}]


@pytest.mark.parametrize("mode", [0o700, 0o711, 0o755])
@pytest.mark.parametrize("owner", [OWNER, 0], ids=["a user's", "root's"])
def test_a_stranger_is_refused_with_advice_and_learns_no_name(folder, people, owner, mode):
    root = owned_by(owner, folder, people, mode)
    before = contents(root)
    stranger = people(STRANGER)
    for options in OPTIONS:
        kind, sentence, facts = stranger.call(attempt, str(root), options)
        assert kind == "InvalidRoot", (options, kind, sentence)
        assert ADVICE.search(sentence), (options, sentence)
        assert sentence.endswith(".")
        assert set(facts) <= {"root"}, facts
        assert facts["root"] == str(root)
        # What it says is of the folder that the stranger named, and of nothing in it.
        assert not [word for word in SECRETS if word in sentence.replace(str(root), "")], sentence
    seen = "\n".join(stranger.call(look_around, str(folder)))
    assert not [word for word in SECRETS if word in seen], seen
    assert contents(root) == before


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_a_stranger_who_cannot_even_reach_the_root_is_told_so(folder, people, options):
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    os.chown(closed, OWNER, OWNER)
    people(OWNER).call(live, str(closed / "store"), {})
    stranger = people(STRANGER)
    told = [stranger.call(attempt, str(closed / name), options) for name in ("store", "nothing", "store/sessions")]
    assert [kind for kind, _, _ in told] == ["InvalidRoot"] * 3, told
    assert all(ADVICE.search(sentence) for _, sentence, _ in told), told
    # Not even whether there is a store: the sentences differ in the name that was asked for alone.
    assert len({sentence.replace(facts["root"], "") for _, sentence, facts in told}) == 1, told


def test_root_opens_a_users_store_and_leaves_it_usable_for_them(folder, people):
    """What an administrator's process makes there, must not lock the owner out."""
    root = owned_by(OWNER, folder, people)
    with SessionStore(root) as store:
        assert texts(store.get("secret-name")) == ["a secret"]
    assert people(OWNER).call(read_one, str(root), {}) == ["a secret"]


def read_one(root: str, options: dict[str, Any]) -> list[Any]:
    """What a session says."""
    with SessionStore(root, **options) as store:
        return texts(store.get("secret-name"))


def write_one(root: str, options: dict[str, Any], text: str) -> list[Any]:
    """Write to a session, to a new one, and do what makes further files."""
    with SessionStore(root, **options) as store:
        session = store.get_or_create("secret-name")
        session.append("user", text)
        session.fork()
        made = store.create()
        store.delete(made)
        store.bind(f"key of {text}", "secret-name")
        store.search("secret")
        return texts(session)


@pytest.mark.parametrize("mode", [0o2770, 0o2775])
def test_the_members_of_a_group_share_a_root_and_a_stranger_does_not(folder, people, mode):
    root = folder / "store"
    root.mkdir()
    os.chown(root, OWNER, GROUP)
    root.chmod(mode)
    one, other, stranger = people(OWNER, groups=(GROUP,)), people(OWNER + 1, groups=(GROUP,)), people(STRANGER)
    options = {"shared": True}
    one.call(live, str(root), options)
    assert other.call(write_one, str(root), options, "by the other") == ["a secret", "by the other"]
    assert one.call(write_one, str(root), options, "by the one") == ["a secret", "by the other", "by the one"]
    assert other.call(read_one, str(root), options) == ["a secret", "by the other", "by the one"]
    # Not without saying that it is meant: others can write to it.
    assert one.call(attempt, str(root), {})[0] == "InvalidRoot"
    assert "shared=True" in one.call(attempt, str(root), {})[1]
    wrong = [
        f"{oct(stat.S_IMODE(found.st_mode))} {found.st_gid} {path}"
        for path in root.rglob("*")
        if (found := path.lstat()) and (found.st_gid != GROUP or stat.S_IMODE(found.st_mode) & ~mode)
    ]
    assert wrong == []
    before = contents(root)
    if mode & 0o007:
        # They said that others may read: so they read, and nothing else.
        assert stranger.call(read_one, str(root), options) == ["a secret", "by the other", "by the one"]
        with pytest.raises(ReadOnlyStore):
            stranger.call(write_one, str(root), options, "by a stranger")
    else:
        kind, sentence, _ = stranger.call(attempt, str(root), options)
        assert kind == "InvalidRoot"
        assert ADVICE.search(sentence), sentence
    assert contents(root) == before


@pytest.mark.parametrize("what", ["sessions", "trash", "tmp", "locks", "registry", "quarantine", "index"])
def test_a_folder_that_was_closed_to_a_user_is_told_of_by_an_error_of_the_store(folder, people, what):
    """A backup that was put back as root, a chmod too many: every call says what it is that it cannot do."""
    root = owned_by(OWNER, folder, people)
    os.chown(root / what, 0, 0)
    (root / what).chmod(0o700)
    owner = people(OWNER)
    answers = owner.call(ask_all, str(root))
    bare = {name: answer for name, answer in answers.items() if answer is not None and not answer[0]}
    assert bare == {}
    assert any(answer is not None for answer in answers.values()) or what in ("quarantine", "index"), answers
    os.chown(root / what, OWNER, OWNER)
    assert owner.call(read_one, str(root), {}) == ["a secret"]


def ask_all(root: str) -> dict[str, tuple[bool, str] | None]:
    """Every call: whether what it raises is one of the store's own errors, and which."""
    answers: dict[str, tuple[bool, str] | None] = {}
    for name, work in WORK.items():
        answers[name] = None
        try:
            with SessionStore(root, lock_timeout_s=1.0) as store:
                work(store)
        except Exception as error:  # noqa: BLE001  # that is what is asked
            answers[name] = isinstance(error, HierstoreError), repr(error)
    return answers


def test_what_a_stranger_planted_in_a_root_that_was_open_is_seen(folder, people):
    """A root that was open for a moment: what a stranger put into it meanwhile is not trusted for its name."""
    root = owned_by(OWNER, folder, people)
    root.chmod(0o777)
    people(STRANGER).call(plant, str(root), str(folder / "home-54322"))
    owner = people(OWNER)
    assert owner.call(attempt, str(root), {})[0] == "InvalidRoot"
    root.chmod(0o700)
    kind, sentence, _ = owner.call(attempt, str(root), {})
    assert kind == "InvalidRoot"
    assert "link" in sentence
    assert issubclass(InvalidRoot, HierstoreError)


def plant(root: str, home: str) -> None:
    """Put a folder of one's own in the place of the store's."""
    os.rename(f"{root}/trash", f"{root}/old")
    os.symlink(home, f"{root}/trash")
