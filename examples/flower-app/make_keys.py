"""Make a key for every hospital and the roster, for a trial where one person starts all SuperNodes.

    python examples/flower-app/make_keys.py FOLDER NAME...

Between real hospitals each makes its own key with `new_site_key`, tells the others the public half, and keeps its own
copy of the roster.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from wardround.secagg import Roster, new_site_key, write_roster


def make_keys(folder: Path, names: Sequence[str]) -> Roster:
    """Write NAME.key for every hospital and roster.json into a folder, and return the roster; one may drop out."""
    keys = {name: new_site_key(folder / f"{name}.key") for name in names}
    roster = Roster(federation="least squares", verify_keys=keys, min_survivors=max(2, len(names) - 1))
    write_roster(folder / "roster.json", roster)
    return roster


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    made = make_keys(target, sys.argv[2:])
    print(f"{target}/roster.json: {', '.join(made.verify_keys)}; at least {made.min_survivors} in every sum")
