"""Models that try to let one record move another's gradient, or to carry something on; and models that are sound.

Every model takes records of six numbers and gives two outputs. `ADVERSARIES` and `SOUND` hold factories by name.
"""

from zoo_frame import NUM_FEATURES, NUM_RECORDS
from zoo_memories import MEMORIES
from zoo_mixers import MIXERS
from zoo_oddities import ODDITIES
from zoo_sound import SOUND

__all__ = ["ADVERSARIES", "NUM_FEATURES", "NUM_RECORDS", "REASONS", "SOUND"]

ADVERSARIES = {factory.__name__: factory for factory in (*MEMORIES, *MIXERS, *ODDITIES)}

_WRITES = "it writes into a buffer, a parameter or another tensor that outlives the call"
_BY_VALUE = "what it does next depends on the values that it is given"
_EARLIER = "it uses something of an earlier call"
REASONS = {
    "MaxWhenLarge": _BY_VALUE,
    "RunningMeanInABuffer": _WRITES,
    "RunningMeanInAFrozenParameter": _WRITES,
    "RunningMeanInATrainableParameter": _WRITES,
    "RunningMeanInAnAttribute": "it writes to mean",
    "RunningMeanInPlace": _WRITES,
    "ListOfBatches": "it writes to batches.0",
    "CounterOfBatches": "it writes to state.calls",
    "GlobalList": _EARLIER,
    "GlobalNumber": "its forward is not the same twice",
    "FrozenFromOutside": "its forward is not the same twice",
    "NoughtOrNone": "its forward is not the same twice",
    "closure": _EARLIER,
    "DefaultArgument": _EARLIER,
    "CopiesAreItself": "it writes to mean",
    "caching_hook": _EARLIER,
    "parameter_hook": "has hooks, which are not run here",
    "batch_norm_subclass": "Expected more than 1 value per channel",
    "WritesOnTheInput": _WRITES,
    "spectral_norm": _WRITES,
    "old_weight_norm": "can't be copied",
    "call_on_the_instance": "a parameter that is not the module's own",
    "layer_norm_over_the_batch": "normalized_shape",
    "records_as_channels": "to have 6 channels",
    "OwnGenerator": "a generator of its own",
    "GeneratorThatIsSeeded": _BY_VALUE,
    "NumPyDetour": ".numpy() is not supported",
    "NumPyGenerator": "it writes to generator",
    "PythonsRandom": "its forward is not the same twice",
    "MemoryOfAnyShape": "memory that was not written to",
    "ReadsNeighbours": "it reads memory by strides",
    "WritesToAPart": "it reads memory",
    "DrawsAsManyAsItLikes": "it draws with poisson",
    "Chosen": "can't be run record by record",
    "Nonzero": "depends on the values that it is given",
    "ReadsNumbers": _BY_VALUE,
    "OwnOperation": "not one of the framework's own operations",
    "lazy": "Expected more than 1 value per channel",
}
"""Why the others are refused; those that are missing run, each record by itself."""
