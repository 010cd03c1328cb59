import shutil
from pathlib import Path

import pytest

from voxlang.checkpoints.pages import write_pages

PAGES = Path(__file__).resolve().parents[2] / "docs" / "checkpoints"


def test_tables_in_the_documentation_are_those_of_the_code(tmp_path):
    folder = shutil.copytree(PAGES, tmp_path / "pages")
    for path in write_pages(folder):
        assert path.read_text("utf-8") == (PAGES / path.name).read_text("utf-8"), "run tools/checkpoint_docs.py"


def test_page_without_marks_is_refused(tmp_path):
    folder = shutil.copytree(PAGES, tmp_path / "pages")
    (folder / "sam1.md").write_text("no table")
    with pytest.raises(ValueError, match=r"sam1\.md has no marks"):
        write_pages(folder)
