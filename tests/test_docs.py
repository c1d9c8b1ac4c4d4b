"""What the pages point to: links, pictures and source files are there, and no picture lies about unused."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#\s]+)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_of_a_page_leads_to_a_file_that_is_there(page):
    targets = LINK.findall(page.read_text("utf-8"))
    assert [target for target in targets if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_source_file_that_a_page_names_with_its_folder_is_there(page):
    rooms = [folder.name for folder in (ROOT / "src" / "unrolled").iterdir() if folder.is_dir()]
    named = re.findall(rf"`((?:{'|'.join(rooms)})/[\w/]+\.(?:py|c|h))`", page.read_text("utf-8"))
    assert [name for name in named if not (ROOT / "src" / "unrolled" / name).exists()] == []


def test_every_picture_is_shown_somewhere_and_is_light():
    shown = {(page.parent / target).resolve() for page in PAGES for target in LINK.findall(page.read_text("utf-8"))}
    pictures = set((ROOT / "docs" / "images").glob("*.png"))
    assert pictures
    assert {path.name for path in pictures - shown} == set()
    assert {path.name for path in pictures if path.stat().st_size > 160_000} == set()
