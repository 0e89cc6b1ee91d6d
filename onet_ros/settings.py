"""Typed settings with a description, a unit and a range on every field: the one source of defaults.

Each room declares its settings as a frozen dataclass whose fields come from `setting(...)`. The command line, the ROS
parameters with their descriptors and the YAML in `config/` are all made from these declarations.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any


def setting(
    default: Any,
    description: str,
    *,
    unit: str = "",
    minimum: float | None = None,
    maximum: float | None = None,
    choices: tuple[str, ...] = (),
) -> Any:
    """A dataclass field that knows what it means and what it may hold.

    Args:
        default: the value when nothing is said; its type (bool, int, float, str or tuple of float) is the field's type.
        description: one sentence for `--help`, for the ROS parameter descriptor and for the YAML comment.
        unit: SI unit, empty for a pure number.
        minimum, maximum: inclusive range of a number (of each element, for a tuple).
        choices: the strings allowed, empty for any.
    """
    metadata = {
        "description": description,
        "unit": unit,
        "minimum": minimum,
        "maximum": maximum,
        "choices": choices,
    }
    return dataclasses.field(default=default, metadata=metadata)


def check_settings(settings: Any) -> None:
    """Raise ValueError, quoting name and value, for the first field of a settings dataclass outside its declaration.

    Call it from `__post_init__`, so that settings which exist are settings that hold.
    """
    for field in dataclasses.fields(settings):
        if field.metadata:
            _check_field(field, getattr(settings, field.name))


def _check_field(field: dataclasses.Field[Any], value: Any) -> None:
    expected = type(field.default)
    if expected is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if type(value) is not expected:
        raise ValueError(f"{field.name} must be {expected.__name__}, got {type(value).__name__} {value!r}")
    if field.metadata["choices"] and value not in field.metadata["choices"]:
        raise ValueError(f"{field.name} must be one of {', '.join(field.metadata['choices'])}, got {value!r}")
    for number in value if isinstance(value, tuple) else (value,):
        _check_number(field, number)


def _check_number(field: dataclasses.Field[Any], number: Any) -> None:
    if isinstance(number, (bool, str)):
        return
    minimum, maximum, unit = (field.metadata[key] for key in ("minimum", "maximum", "unit"))
    too_low = minimum is not None and not number >= minimum
    too_high = maximum is not None and not number <= maximum
    if math.isnan(number) or too_low or too_high:
        bounds = f"[{'-inf' if minimum is None else minimum}, {'inf' if maximum is None else maximum}]"
        raise ValueError(f"{field.name} must be in {bounds}{' ' + unit if unit else ''}, got {number!r}")
