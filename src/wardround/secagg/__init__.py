"""Secure aggregation: the sum of the hospitals' vectors, and nothing else, reaches the server (SecAgg+).

Bonawitz et al. 2017 with the sparse graph of Bell et al. 2020. Pure functions over frozen records: what a hospital does
is in `hospital`, what the server does in `server`, what both must agree on in `terms`. What is left out on purpose:
messages (`strategies.secagg_plus` and `clients.secagg` carry the records over Flower) and noise (`privacy`).
"""

from wardround.secagg.sites import (
    Roster,
    Site,
    new_site_key,
    read_roster,
    read_site,
    simulated_roster,
    simulated_site,
    write_roster,
)
from wardround.secagg.terms import Terms, is_weighted, sent_digest, shape_of, stated_digest

__all__ = [
    "Roster",
    "Site",
    "Terms",
    "is_weighted",
    "new_site_key",
    "read_roster",
    "read_site",
    "sent_digest",
    "shape_of",
    "simulated_roster",
    "simulated_site",
    "stated_digest",
    "write_roster",
]
