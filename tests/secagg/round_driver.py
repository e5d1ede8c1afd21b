"""One round of secure aggregation in memory, stage by stage, for every test of the package."""

import numpy as np
from scipy import stats

from wardround.secagg import Terms, hospital, sent_digest, server, simulated_site, stated_digest
from wardround.secagg.masks import add_masks
from wardround.secagg.members import members_of
from wardround.secagg.records import STAGES
from wardround.secagg.shamir import SHARE_BYTES, combine

MODEL = sent_digest((("weight", np.zeros(3, np.float32)), ("learning-rate", 0.1)))
SETTINGS = stated_digest(b"version 1")


def terms_of(min_survivors=2, max_colluding=0, **changes):
    values = {
        "federation": "simulated",
        "run_id": "run",
        "round_number": 1,
        "min_survivors": min_survivors,
        "max_colluding": max_colluding,
        "payload": "values",
        "max_update": 1.0,
        "max_weight": 1.0,
        "model_digest": MODEL,
        "settings_digest": SETTINGS,
    }
    return Terms(**{**values, **changes})


class Round:
    """Everything that anyone knows in a round; `drops` says at which stage (0 to 4) a hospital is gone."""

    def __init__(self, num_hospitals, min_survivors=2, max_colluding=0, *, drops=None, vectors=None, **changes):
        self.names = [f"h{i:02}" for i in range(num_hospitals)]
        self.drops = {self.names[place]: stage for place, stage in (drops or {}).items()}
        agreed = {"min_survivors": min_survivors, "max_colluding": max_colluding}
        self.sites = {name: simulated_site(1, name, self.names, **agreed) for name in self.names}
        self.terms = terms_of(min_survivors, max_colluding, **changes)
        if vectors is None:
            draws = np.random.default_rng(num_hospitals)
            vectors = {name: draws.integers(2**32, size=5, dtype=np.uint32) for name in self.names}
        self.vectors = vectors
        self.memories, self.ads, self.shares, self.masked = {}, [], {}, {}
        self.confirmations, self.replies = {}, {}

    def play(self, until="unmask"):
        for stage in STAGES[: STAGES.index(until) + 1]:
            getattr(self, stage)()
        return self

    def alive(self, stage):
        return [name for name in self.names if self.drops.get(name, len(STAGES)) > STAGES.index(stage)]

    def answer(self, stage, name, request, **more):
        act = getattr(hospital, stage)
        self.memories[name], reply = act(self.sites[name], self.terms, self.memories[name], request, **more)
        return reply

    def advertise(self):
        for name in self.alive("advertise"):
            self.memories[name], ad = hospital.advertise(self.sites[name], self.terms, 0)
            self.ads.append(ad)
        self.share_request = server.share_request(self.terms, self.ads)
        self.members = members_of(self.terms, self.share_request)

    def share(self):
        self.shares = {name: self.answer("share", name, self.share_request) for name in self.alive("share")}

    def mask(self):
        self.mask_requests = server.mask_requests(self.members, self.shares)
        for name in self.alive("mask"):
            masks = self.answer("mask", name, self.mask_requests[name], model_digest=self.terms.model_digest)
            self.masked[name] = self.vectors[name].copy()
            add_masks(self.masked[name], masks)

    def confirm(self):
        self.confirm_request = server.confirm_request(self.members, list(self.shares), list(self.masked))
        for name in self.alive("confirm"):
            self.confirmations[name] = self.answer("confirm", name, self.confirm_request)

    def unmask(self):
        self.unmask_request = server.unmask_request(self.members, self.confirm_request, self.confirmations)
        self.replies = {name: self.answer("unmask", name, self.unmask_request) for name in self.alive("unmask")}

    def total(self):
        """Return the sum with its masks off, as the server has it in the end."""
        total = summed(self.masked.values())
        commitments = {name: shares.commitment for name, shares in self.shares.items()}
        server.take_off_masks(total, self.members, self.unmask_request, commitments, self.replies)
        return total

    def stolen(self, holders, owner, kind):
        """Return a secret ("key" or "seed") of the owner from the memories of the holders."""
        shares = {
            self.members.point(holder): share_in(self.memories[holder], owner, kind)
            for holder in holders
            if owner in self.memories[holder].senders
        }
        return combined(shares, self.members.shape.threshold)

    def bared(self, name, *, seed=None, keys_of=(), partners=None):
        """Return a masked vector less the own mask (if its seed is known) and the masks of partners with known keys."""
        vector = self.masked[name].copy()
        masks = [self.members.own_mask(seed, name)] if seed is not None else []
        for other, key in dict(keys_of).items():
            if other == name:
                partners = self.members.neighbours(name) & set(self.shares) if partners is None else partners
                masks += [self.members.pairwise_mask(key, name, partner) for partner in partners]
            else:
                first, adds = self.members.pairwise_mask(key, other, name)
                masks.append((first, not adds))
        add_masks(vector, [(key, not adds) for key, adds in masks])
        return vector


def share_in(memory, owner, kind):
    """Return the share of an owner's secret ("key" or "seed") that a hospital's memory holds."""
    both = memory.shares[memory.senders.index(owner)]
    return both[:SHARE_BYTES] if kind == "key" else both[SHARE_BYTES:]


def combined(shares, threshold):
    """Return what the first shares give, whatever it is, as attackers have no word of its owner to hold it to."""
    return combine(shares, threshold, lambda secret: True)[0]


def summed(vectors):
    """Return the sum modulo 2^32 by way of 64 bits, which is not how the package does it."""
    return (np.sum([vector.astype(np.uint64) for vector in vectors], axis=0) % 2**32).astype(np.uint32)


def looks_random(vector):
    """Return whether a uint32 vector could be uniform in bytes, high bits and values (if it is: 1 - 3e-6)."""
    octets = np.bincount(np.frombuffer(vector.tobytes(), np.uint8), minlength=256)
    high = np.bincount(vector >> np.uint32(22), minlength=1024)
    chances = [
        stats.chisquare(octets).pvalue,
        stats.chisquare(high).pvalue,
        stats.kstest(vector / 2**32, "uniform").pvalue,
    ]
    return min(chances) > 1e-6
