"""What every group of settings is, and the numbers that settings may be."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

from pipelines.yaml_words import as_written


def _no_boolean(value: Any) -> Any:
    """Refuse what Python would count as 0 or 1, and YAML reads in `yes`, `no`, `on` and `off`."""
    if isinstance(value, bool):
        raise ValueError("Input should be a number, not yes or no")
    return value


def _at_home(path: str | Path) -> str | Path:
    """Read `~` as a shell does: some libraries do so too, and others do not."""
    return Path(path).expanduser() if str(path).startswith("~") else path


Whole = Annotated[int, BeforeValidator(_no_boolean)]
Real = Annotated[float, BeforeValidator(_no_boolean)]
Positive = Annotated[Whole, Field(gt=0)]
NotNegative = Annotated[Whole, Field(ge=0)]
Rate = Annotated[Real, Field(gt=0)]
Weight = Annotated[Real, Field(ge=0)]
Share = Annotated[Real, Field(ge=0, le=1)]
ShareBelowOne = Annotated[Real, Field(ge=0, lt=1)]
ModelName = Annotated[str, AfterValidator(lambda name: str(_at_home(name)))]
Margin = Annotated[Real, Field(ge=0, le=1)]


class Section(BaseModel):
    """A group of settings: frozen, closed to keys it does not know, its numbers finite."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False
    )

    @model_validator(mode="before")
    @classmethod
    def _as_written(cls, raw: Any) -> Any:
        return as_written(raw, cls.model_fields)

    @field_validator("*", mode="after")
    @classmethod
    def _paths_at_home(cls, value: Any) -> Any:
        return _at_home(value) if isinstance(value, Path) else value
