"""After which rounds the hospitals test the model.

What is left out on purpose: asking them (see `strategy_steps.evaluate`), which real sites never are.
"""

from dataclasses import replace

from wardround.server.plan.budget import within_budget
from wardround.server.plan.plans import FederationPlan
from wardround.server.plan.state import RoundState

__all__ = ["is_tested"]


def is_tested(plan: FederationPlan, state: RoundState) -> bool:
    """Return whether the model is tested: after every n-th round, and after the one that the run ends with.

    Whether the budget allows another round follows from the plan and the charges, so that it is known before the round
    is committed. The state is that after the round.
    """
    training, number = plan.config.training, state.round_number
    if number % training.evaluate_every == 0 or number == training.num_rounds:
        return True
    if plan.config.privacy.budget_epsilon is None:
        return False
    return bool(within_budget(plan, replace(state, attempt=1), number + 1)[0].stopped)
