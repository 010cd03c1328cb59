"""Write the tables in docs/encoders.md anew, after a change of an encoder's configuration."""

from pathlib import Path

from voxlang.apps.encoder_page import write_tables

if __name__ == "__main__":
    print(", ".join(write_tables(Path(__file__).resolve().parents[1] / "docs" / "encoders.md")))
