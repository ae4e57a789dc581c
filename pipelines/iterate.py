"""Algorithm 1 of DeepSeekMath (arXiv:2402.03300): iterative GRPO.

The paper's iteration sets the reference, optimizes the policy, and updates the reward model last,
with a first reward model trained before. Here the same cycle starts at the reward model: sample,
label, retrain, optimize, evaluate. So each reward model judges the policy that its samples came
from, and the first one needs no place of its own.
"""

from __future__ import annotations

from pipelines import metrics
from pipelines.artifacts import Artifact
from pipelines.phases.evaluate import PHASE as EVALUATE
from pipelines.phases.label import PHASE as LABEL
from pipelines.phases.optimize import PHASE as OPTIMIZE
from pipelines.phases.retrain import HISTORY
from pipelines.phases.retrain import PHASE as RETRAIN
from pipelines.phases.sample import PHASE as SAMPLE
from pipelines.phases.start import PHASE as START
from pipelines.runs import Run


def iterate(run: Run) -> Artifact:
    """Run Algorithm 1 from where the run directory stands; return the final policy."""
    initial = policy = run.do(START, 0)  # pi_theta <- pi_theta_init
    run.do(EVALUATE, 0, policy=policy)
    metrics.publish(run.path)
    samples: Artifact | None = None
    reward_model: Artifact | None = None
    history: dict[str, Artifact] = {}
    for iteration in range(1, run.config.iterations + 1):  # for iteration = 1, ..., I
        if run.config.learns_reward:
            # The reward model learns from the policy that it will judge, and from 10 % of history.
            # It begins as the last one, the first one at the tokenizer of the initial policy.
            samples = run.do(SAMPLE, iteration, policy=policy)
            labels = run.do(LABEL, iteration, samples=samples, policy=policy)
            reward_model = run.do(
                RETRAIN, iteration, policy=initial, labels=labels, reward_model=reward_model,
                **history,
            )  # fmt: skip
            history[f"{HISTORY}{iteration:02d}"] = labels
        # pi_ref <- pi_theta, then GRPO steps: groups of G outputs, rewards at step ends,
        # group-relative advantages, the clipped objective with the KL penalty to pi_ref. The
        # samples tell whether its completions are cut into steps as the labels were.
        policy = run.do(
            OPTIMIZE, iteration, policy=policy, initial=initial, reward_model=reward_model,
            samples=samples,
        )  # fmt: skip
        run.do(EVALUATE, iteration, policy=policy, initial=initial)
        metrics.publish(run.path)
    return policy
