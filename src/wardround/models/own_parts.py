"""Which parameters of a model are a hospital's own, by the method of [personal].

What is left out on purpose: how they are kept apart from the others (see `strategies.personal_models`).
"""

from torch import nn

from wardround.config import PersonalConfig
from wardround.errors import ConfigError

__all__ = ["own_names"]

_NORMALISATION = (nn.GroupNorm, nn.LayerNorm, nn.RMSNorm, nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)


def own_names(personal: PersonalConfig, model: nn.Module) -> tuple[str, ...]:
    """Return the names of the trained parameters that are each hospital's own, in the model's order.

    All are with "mr-mtl", those of the last layer that has any with "local-head", in the order in which layers were
    registered, and those of normalisation layers with "fedbn"; none are with "none".

    Raises:
        ConfigError: a part is asked for, and it is nothing, or everything.
    """
    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    if not personal.is_used:
        return ()
    if personal.method == "mr-mtl":
        return tuple(trained)
    if personal.method == "local-head":
        last = trained[-1].rpartition(".")[0]
        found = tuple(name for name in trained if name.rpartition(".")[0] == last)
        if len(found) == len(trained):
            raise ConfigError(
                'method = "local-head" leaves a model of one layer nothing that hospitals share ([personal] method): '
                'set "mr-mtl", or [model] name = "mlp"'
            )
        return found
    layers = {name for name, part in model.named_modules() if isinstance(part, _NORMALISATION)}
    found = tuple(name for name in trained if name.rpartition(".")[0] in layers)
    if not found:
        raise ConfigError(
            'method = "fedbn" needs normalisation layers that are trained, and the model has none ([personal] method): '
            'set "mr-mtl", or a model with group or layer norms ([model] name)'
        )
    return found
