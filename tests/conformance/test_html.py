"""The page about a run: it stands alone, and shows the evidence of a cell; in a real browser, too."""

import shutil
import subprocess
import zlib
from html.parser import HTMLParser
from pathlib import Path

import pytest

from conformance.html import write_html

from .outcomes import outcomes


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: set[str | None] = set()
        self.links: set[str | None] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.append(tag)
        self.ids.add(given.get("id"))
        if tag == "a":
            self.links.add(given.get("href"))
        assert "src" not in given and tag not in ("script", "link", "img"), "the page needs something from elsewhere"


@pytest.fixture
def page(tmp_path: Path) -> Path:
    """A page."""
    write_html(tmp_path / "out.html", outcomes(), ["<remark>"], "a & b", 1.0)
    return tmp_path / "out.html"


def test_the_page_stands_alone_and_links_to_its_evidence(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    found = _Page()
    found.feed(text)
    assert {link[1:] for link in found.links if link} <= found.ids
    assert "<unknown>" not in text and "&lt;unknown&gt;" in text and "two" not in found.tags
    assert "url(" not in text and "&lt;remark&gt;" in text


def test_a_cell_has_the_evidence_of_its_own_column(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    panel = text[text.index('id="r128-0"') :].partition('<div class="panel"')[0]
    assert "an &lt;unknown&gt; tool" in panel and "0.1 &lt; &lt;two&gt;" in panel and "one page" not in panel


def _colours(picture: bytes) -> set[bytes]:
    """Return the colours in the pixels of a PNG, of three or four bytes a pixel."""
    at, data, width, kind = 8, b"", 0, 2
    while at < len(picture):
        size, name = int.from_bytes(picture[at : at + 4], "big"), picture[at + 4 : at + 8]
        chunk = picture[at + 8 : at + 8 + size]
        if name == b"IHDR":
            width, kind = int.from_bytes(chunk[:4], "big"), chunk[9]
        data += chunk if name == b"IDAT" else b""
        at += 12 + size
    step = {2: 3, 6: 4}[kind]
    raw, row, above, found = zlib.decompress(data), width * step + 1, bytearray(width * step), set()
    for start in range(0, len(raw), row):
        filtering, line = raw[start], bytearray(raw[start + 1 : start + row])
        for i in range(len(line)):
            left, up, corner = (line[i - step], above[i], above[i - step]) if i >= step else (0, above[i], 0)
            about = left + up - corner
            paeth = min((abs(about - left), 0, left), (abs(about - up), 1, up), (abs(about - corner), 2, corner))[2]
            line[i] = (line[i] + (0, left, up, (left + up) // 2, paeth)[filtering]) & 255
        found.update(bytes(line[i : i + 3]) for i in range(0, len(line), step))
        above = line
    return found


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("scheme", "back", "failed"), [("1", "ffffff", "f7c6c2"), ("0", "15171a", "75261f")], ids=["light", "dark"]
)
def test_a_browser_shows_it(page: Path, tmp_path: Path, scheme: str, back: str, failed: str) -> None:
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("there is no Chromium on this machine: apt-get install chromium")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--window-size=640,480",
             f"--user-data-dir={tmp_path / 'profile'}", f"--blink-settings=preferredColorScheme={scheme}"]  # fmt: skip

    def shot(fragment: str) -> set[bytes]:
        picture = tmp_path / "shot.png"
        command = [browser, *flags, f"--screenshot={picture}", f"{page.as_uri()}{fragment}"]
        subprocess.run(command, capture_output=True, check=True, timeout=100)
        return _colours(picture.read_bytes())

    closed = shot("")
    assert bytes.fromhex(back) in closed and bytes.fromhex(failed) in closed
    dumped = subprocess.run(
        [browser, *flags, "--dump-dom", f"{page.as_uri()}#r128-0"], capture_output=True, check=True, timeout=100
    ).stdout.decode()
    assert 'id="r128-0"' in dumped
    assert shot("#r128-0") != closed, "the panel of the evidence does not show"
