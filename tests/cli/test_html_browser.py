"""The page of HTML in a browser: headless Chromium, where there is one (Debian's package ``chromium``)."""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from hierstore import SessionStore
from hierstore.cli.html.page import page
from tests.cli.running import PATIENCE_S
from tests.cli.test_html import HOSTILE, _hostile

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PDFTOTEXT = shutil.which("pdftotext")

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")

LOADING = (
    '<img src="{0}/img"><script src="{0}/script"></script><link rel="stylesheet" href="{0}/link"><iframe src="{0}/frame">'
    '</iframe><style>@import "{0}/import"; body {{ background: url("{0}/style") }}</style><object data="{0}/object"></object>'
    '<p style="background: url({0}/inline)">x</p><video src="{0}/video" autoplay></video>'
    "<script>document.title = 'owned'; fetch('{0}/fetch')</script><svg onload=\"document.title = 'owned'\"></svg>"
    '![image]({0}/markdown.png) <meta http-equiv="refresh" content="0; url={0}/refresh">'
)


class Listener:
    """A server that notes what it is asked for."""

    def __init__(self) -> None:
        asked: list[str] = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append(self.path)
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.asked = asked
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def listener() -> Iterator[Listener]:
    made = Listener()
    thread = threading.Thread(target=made.server.serve_forever)
    thread.start()
    yield made
    made.server.shutdown()
    thread.join()
    made.server.server_close()


def _browse(path: Path, *options: str) -> str:
    """Open a page in a browser of its own, and give what it prints."""
    assert CHROMIUM is not None
    profile = path.parent / "profile"
    done = subprocess.run(
        [
            CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--disable-background-networking",
            "--disable-component-update", "--no-first-run", "--window-size=1000,1400", f"--user-data-dir={profile}", *options,
            path.as_uri(),
        ],
        capture_output=True, stdin=subprocess.DEVNULL, timeout=PATIENCE_S, check=True, start_new_session=True,
    )  # fmt: skip
    shutil.rmtree(profile, ignore_errors=True)
    return done.stdout.decode()


def _dom(path: Path) -> str:
    return _browse(path, "--virtual-time-budget=3000", "--dump-dom")


def _title(dom: str) -> str:
    found = re.search("<title>(.*?)</title>", dom, re.DOTALL)
    assert found is not None
    return found[1]


def _written(path: Path, store: SessionStore, session_id: str) -> str:
    text = "".join(page(store, [store.tree(session_id)], 0.0))
    path.write_text(text, encoding="utf-8")
    return text


def test_nothing_of_a_session_runs_or_is_loaded(store: SessionStore, tmp_path: Path, listener: Listener) -> None:
    loading = LOADING.format(listener.address)
    session = _hostile(store, loading)
    session.append("user", HOSTILE)
    session.set_title("The title")
    _written(tmp_path / "page.html", store, session.id)
    dom = _dom(tmp_path / "page.html")
    assert _title(dom) == "The title"
    assert listener.asked == []
    assert "<script" not in dom
    assert "<img" not in dom


def test_even_markup_that_got_into_the_page_would_not_run_or_load(
    store: SessionStore, tmp_path: Path, listener: Listener
) -> None:
    store.create("s", title="The title").append("user", "here")
    text = _written(tmp_path / "page.html", store, "s")
    # What a refresh leads to is no resource of the page's, and no policy holds it back.
    loading = LOADING.format(listener.address).partition("<meta")[0]
    pierced = text.replace("<p>here</p>", loading)
    assert pierced != text
    (tmp_path / "page.html").write_text(pierced)
    assert _title(_dom(tmp_path / "page.html")) == "The title"
    assert listener.asked == []
    # Without its policy it would: the server is asked, so this test can fail.
    (tmp_path / "page.html").write_text(re.sub("<meta http-equiv=[^>]*>", "", pierced))
    assert _title(_dom(tmp_path / "page.html")) == "owned"
    assert {"/img", "/script", "/style", "/inline"} <= set(listener.asked)


def test_the_policy_lets_the_pages_own_style_in(store: SessionStore, tmp_path: Path) -> None:
    store.create("s").append("user", "hello")
    text = _written(tmp_path / "page.html", store, "s")
    pictures = []
    for changed in (
        text,
        re.sub("<meta http-equiv=[^>]*>", "", text),
        re.sub("<style>.*</style>", "", text, flags=re.DOTALL),
    ):
        (tmp_path / "page.html").write_text(changed)
        _browse(tmp_path / "page.html", f"--screenshot={tmp_path / 'page.png'}")
        pictures.append((tmp_path / "page.png").read_bytes())
    assert pictures[0] == pictures[1]
    assert pictures[0] != pictures[2]


@pytest.mark.skipif(PDFTOTEXT is None, reason="there is no pdftotext on this machine")
def test_on_paper_nothing_is_folded_or_cut(store: SessionStore, tmp_path: Path) -> None:
    session = store.create("s")
    call = {"id": "c", "function": {"name": "look", "arguments": '{"folded": "first\\nargument"}'}}
    session.append("assistant", f"```\n{'code ' * 100}end-of-code\n```", tool_calls=[call], extra={"in": "the rest"})
    session.append("tool", "\n".join(f"result line {number}" for number in range(300)), tool_call_id="c")
    _written(tmp_path / "page.html", store, "s")
    _browse(tmp_path / "page.html", f"--print-to-pdf={tmp_path / 'page.pdf'}", "--no-pdf-header-footer")
    assert PDFTOTEXT is not None
    done = subprocess.run(
        [PDFTOTEXT, "-layout", str(tmp_path / "page.pdf"), "-"], capture_output=True, check=True, timeout=PATIENCE_S
    )
    text = done.stdout.decode()
    for printed in ("argument", "the rest", "end-of-code", "result line 0", "result line 299"):
        assert printed in text, printed
