"""Print a page as PDF with the browser that is installed; where there is none, say so."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from wardround.disk import file_bytes, write_whole

__all__ = ["BROWSERS", "print_pdf"]

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
_SECONDS, _MOST_BYTES = 60, 2**28
_FLAGS = (
    *("--headless=new", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-quic"),
    *("--disable-component-update", "--disable-sync", "--no-pdf-header-footer"),
)


def print_pdf(page: Path, pdf: Path, *, browsers: tuple[str, ...] = BROWSERS) -> str:
    """Print a page, and return why there is no PDF; empty where there is one.

    Args:
        page: an HTML file.
        pdf: where to.
        browsers: commands that are looked for.
    """
    found = next(filter(None, map(shutil.which, browsers)), None)
    if found is None:
        return f"no PDF was printed: none of {', '.join(browsers)} is installed; dossier.html prints from any browser"
    with tempfile.TemporaryDirectory() as folder:
        printed = Path(folder) / "printed.pdf"
        root = ("--no-sandbox",) if os.geteuid() == 0 else ()  # which Chromium asks of root
        words = [found, *_FLAGS, *root, f"--user-data-dir={folder}/profile", f"--print-to-pdf={printed}"]
        try:
            subprocess.run([*words, page.resolve().as_uri()], capture_output=True, check=True, timeout=_SECONDS)
            write_whole(pdf, file_bytes(printed, _MOST_BYTES))
        except (OSError, subprocess.SubprocessError) as error:
            return f"no PDF was printed: {found} failed ({type(error).__name__}); dossier.html prints from any browser"
    return ""
