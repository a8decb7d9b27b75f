"""The report starts at once: nothing that only models need is imported."""

from __future__ import annotations

import subprocess
import sys


def test_the_report_imports_no_torch() -> None:
    code = (
        "import sys; import cellresponse.baselines.report.page; "
        "import cellresponse.baselines.benchmark.options; "
        "print(*sorted({'torch', 'anndata', 'dask', 'zarr'} & sys.modules.keys()))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.split() == []
