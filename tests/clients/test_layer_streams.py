"""What layers draw in a release: as torch's own seeding has it, and nothing of it is left behind."""

import torch

from wardround.clients.layer_streams import layers_draw_from

_CPU = torch.device("cpu")


def test_layers_draw_what_torchs_own_seeding_gives() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2**63 - 1)
        wanted = torch.rand(5)
    with layers_draw_from(2**63 - 1, _CPU):
        assert torch.equal(torch.rand(5), wanted)


def test_generators_go_on_from_where_they_were_also_after_an_error() -> None:
    before = torch.get_rng_state()
    try:
        with layers_draw_from(7, _CPU):
            torch.rand(5)
            raise KeyError
    except KeyError:
        pass
    assert torch.equal(torch.get_rng_state(), before)


def test_a_thousand_releases_leave_nothing_queued_for_devices_that_are_never_used() -> None:
    queued = len(torch.cuda._queued_calls)
    for seed in range(1000):
        with layers_draw_from(seed, _CPU):
            pass
    assert len(torch.cuda._queued_calls) == queued
