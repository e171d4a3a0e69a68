"""The page about a run."""

from html.parser import HTMLParser
from pathlib import Path

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


def test_the_page_stands_alone_and_links_to_its_evidence(tmp_path: Path) -> None:
    write_html(tmp_path / "out.html", outcomes(), ["<remark>"], "a & b", 1.0)
    text = (tmp_path / "out.html").read_text(encoding="utf-8")
    page = _Page()
    page.feed(text)
    assert {link[1:] for link in page.links if link} <= page.ids
    assert "<unknown>" not in text and "&lt;unknown&gt;" in text and "two" not in page.tags
