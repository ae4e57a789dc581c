"""Checking the arithmetic of worked solutions; rules and examples in ``verifiers.steps.check``."""

from verifiers.steps.check import check_spans, check_steps
from verifiers.steps.many import check_many
from verifiers.steps.records import Rounding, StepOutcome, StepVerdict

__all__ = ["Rounding", "StepOutcome", "StepVerdict", "check_many", "check_spans", "check_steps"]
