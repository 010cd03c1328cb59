"""Check the DINO and I-JEPA encoders end to end, offline: `python test_dino_jepa_integration.py`.

Configuration loading and inheritance, component compatibility, training integration, parameter validation. Exits with 1
when a check fails. The tests of the suite are in tests/; this is a script for a machine on which something is wrong.
"""

import os
import sys

if __name__ == "__main__":
    os.environ["HF_HUB_OFFLINE"] = "1"
    from voxlang.segtrain.check_encoders import run_checks

    results = run_checks()
    failed = [result.name for result in results if not result.passed]
    print(f"{len(results) - len(failed)} of {len(results)} checks passed" + (f"; failed: {failed}" if failed else ""))
    sys.exit(1 if failed else 0)
