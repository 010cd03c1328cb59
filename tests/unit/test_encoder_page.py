"""The tables of docs/encoders.md are those of the encoders as they are built now, whatever their numbers.

The embedded micro changes with its training; `tools/encoder_docs.py` is run for it, and its table is not compared here.
"""

from pathlib import Path

import pytest

from voxlang.apps.encoder_page import described, sections, write_tables

PAGE = Path(__file__).resolve().parents[2] / "docs" / "encoders.md"
EMBEDDED = "micro"
QUICK = ("configs/sam2/sam2_vit_dino_micro.yaml", "configs/sam2/sam2_vit_ijepa_micro.yaml")
SLOW = ("tiny", "small", "base_plus", "large", "configs/sam2/sam2_vit_dino.yaml", "configs/sam2/sam2_vit_ijepa.yaml")


@pytest.mark.parametrize("encoder", [*QUICK, *(pytest.param(e, marks=pytest.mark.slow) for e in SLOW)])
def test_tables_in_the_documentation_are_those_of_the_encoders(encoder):
    written = sections(PAGE.read_text("utf-8"))
    assert set(written) == {EMBEDDED, *QUICK, *SLOW}
    assert written[encoder] == described(encoder).as_markdown(), "run tools/encoder_docs.py"


def test_a_table_is_replaced_and_the_text_around_it_stays(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "# A\n\ntext\n\n### One (`sam2_vit_dino_micro`)\n\nold\n\n| old |\n\n## After\n\n### Plain\n\nkept\n"
    )
    assert write_tables(page) == ["sam2_vit_dino_micro"]
    table = described("sam2_vit_dino_micro").as_markdown()
    assert (
        page.read_text()
        == f"# A\n\ntext\n\n### One (`sam2_vit_dino_micro`)\n\n{table}\n\n## After\n\n### Plain\n\nkept\n"
    )


def test_a_page_without_headings_is_refused(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# A\n\n### Plain\n")
    with pytest.raises(ValueError, match="no headings"):
        write_tables(page)
