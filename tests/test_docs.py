"""The documentation matches the repository: links, source files, pictures and the table of rooms."""

import re
from pathlib import Path

import pytest

from tests.test_rooms import ROWS
from tests.test_rooms import SOURCE as PACKAGE

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


def rows_of_the_table():
    """Return (room, row) for each room that the table in CONTRIBUTING.md names, and the names as they are written."""
    table = re.findall(r"^\| (\d+) \| ([^|]+) \|", (ROOT / "CONTRIBUTING.md").read_text("utf-8"), re.MULTILINE)
    named = [(name, int(row)) for row, cell in table for name in re.findall(r"`([^`]+)`", cell)]
    return [(name.removesuffix("/").removesuffix(".py"), row) for name, row in named], [name for name, _ in named]


def test_the_table_of_rooms_names_each_room_once_and_on_its_row():
    rooms, _ = rows_of_the_table()
    assert sorted(rooms) == sorted((room, row) for row, names in enumerate(ROWS) for room in names)


def test_the_table_of_rooms_and_the_sentence_below_it_name_every_folder_and_module():
    _, rooms = rows_of_the_table()
    data = re.findall(r"`(presets/|stories/)`", (ROOT / "CONTRIBUTING.md").read_text("utf-8"))
    # a folder that was moved away may still hold a cache of compiled modules
    folders = {f"{path.parent.name}/" for path in PACKAGE.glob("*/*.*") if path.parent.name != "__pycache__"}
    modules = {path.name for path in PACKAGE.glob("*.py")} - {"__init__.py", "__main__.py"}
    assert {*rooms, *data} == folders | modules
