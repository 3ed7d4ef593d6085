"""Every page is found from the index, and every link leads somewhere."""

import re
from pathlib import Path

from deploy.local.home import ROOT

LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
DOCS = ROOT / "docs"


def links(page: Path) -> set[Path]:
    targets = LINK.findall(page.read_text())
    return {(page.parent / each).resolve() for each in targets if "://" not in each}


def test_every_page_is_in_the_index() -> None:
    assert set(DOCS.rglob("*.md")) - links(DOCS / "README.md") == {DOCS / "README.md"}


def test_links_between_pages_lead_somewhere() -> None:
    pages = [*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *(ROOT / "models").glob("*.md")]
    broken = {
        f"{page.relative_to(ROOT)}: {target}"
        for page in pages
        for target in links(page)
        if not target.exists()
    }
    assert broken == set()


def test_decisions_have_numbers_of_their_own() -> None:
    numbers = [page.name[:4] for page in (DOCS / "decisions").glob("*.md")]
    assert len(numbers) == len(set(numbers))
