"""Write the tables of keys in docs/checkpoints anew, after a change of the rule tables."""

from pathlib import Path

from voxlang.checkpoints.pages import write_pages

if __name__ == "__main__":
    for path in write_pages(Path(__file__).resolve().parents[1] / "docs" / "checkpoints"):
        print(path)
