from __future__ import annotations

import subprocess
import sys

from unit.helpers import ROOT


def test_the_parameter_page_is_made_from_the_table():
    """Out of date after a change of the parameter table: `make docs`, then read the diff. The golden meta-data: settings/test_metadata.py."""
    said = subprocess.run([sys.executable, "-I", "-X", "utf8", str(ROOT / "packaging" / "parameters_page.py")], cwd="/", timeout=10, capture_output=True)
    assert (said.returncode, said.stderr) == (0, b"")
    assert said.stdout.decode() == (ROOT / "docs" / "parameters.md").read_text(encoding="utf-8")
