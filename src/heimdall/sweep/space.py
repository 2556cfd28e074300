"""The space of a search: which parameters are tried, and their values, from the words of the command line."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import Trial

from heimdall.core import params
from heimdall.core.determinism import PARAMS_FILE
from heimdall.core.errors import HeimdallError
from heimdall.reproduce import dvc_lock

# What judges the trials must be the same for all; what comes after the training does not reach the judgement.
FIXED = ("snapshot", "split", "validation_split", "model.name", "evaluate", "export", "verify", "seed")

Space = Mapping[str, BaseDistribution]
# The specification's grid.
GRID = (
    "lr=1e-4,1e-3,1e-2",
    "batch_size=16,32,64",
    "dropout_rate=0.1,0.2,0.3",
    "weight_decay=1e-5,1e-4,1e-3",
)


def parse(given: Sequence[str], parameters: Mapping[str, Any]) -> dict[str, BaseDistribution]:
    """What is tried, from the words of the command line.

    Args:
        given: Each `name=a,b,c` (one of these), `name=low:high` or `name=low:high:log` (whole numbers, if
            both ends are).
        parameters: All of params.yaml, nested.

    Returns:
        A distribution by parameter.

    Raises:
        HeimdallError: params.yaml is wrong without any of them; or one is malformed, names no parameter or
            one that trials cannot differ in, or is out of the parameter's range.
    """
    params.check(parameters, str(PARAMS_FILE))  # first, or the first word would be blamed for it
    space: dict[str, BaseDistribution] = {}
    known = dvc_lock.flat(parameters)
    for word in given:
        name, _, text = word.partition("=")
        subject = f"--space {word}"
        if name not in known:
            raise HeimdallError(subject, f"params.yaml has no {name!r}", "Name one of its parameters")
        if any(name == fixed or name.startswith(f"{fixed}.") for fixed in FIXED):
            cause = f"trials that differ in {name} could not be compared, or would not differ"
            raise HeimdallError(subject, cause, "Choose a parameter of the training")
        if name in space:
            raise HeimdallError(subject, f"{name} is there twice", "Name each parameter once")
        try:
            space[name] = _distribution(text)
        except ValueError as error:
            cause = f"not a list or a range ({error})"
            remedy = "Write name=0.1,0.2,0.3, name=16:64 or name=1e-5:1e-3:log"
            raise HeimdallError(subject, cause, remedy) from None
        for value in _ends(space[name]):
            params.check(_with(parameters, name, value), subject)
    return space


def combinations(space: Space) -> list[dict[str, Any]]:
    """Every combination of a grid, the last parameter's values varying first.

    Args:
        space: Lists alone.

    Returns:
        A value for each parameter, in each combination.

    Raises:
        HeimdallError: A parameter has a range, which no grid covers.
    """
    for name, item in space.items():
        if not isinstance(item, CategoricalDistribution):
            cause = "a range has no end of values, and a grid tries every one"
            raise HeimdallError(f"--space {name}", cause, f"Write a list: --space {name}=0.1,0.2")
    lists = [_ends(item) for item in space.values()]
    return [dict(zip(space, values, strict=True)) for values in itertools.product(*lists)]


def suggest(trial: Trial, name: str, item: BaseDistribution) -> Any:  # noqa: ANN401 - of the parameter's type
    """What the sampler proposes for a parameter of a trial."""
    if isinstance(item, FloatDistribution):
        return trial.suggest_float(name, item.low, item.high, log=item.log)
    if isinstance(item, IntDistribution):
        return trial.suggest_int(name, item.low, item.high, log=item.log)
    assert isinstance(item, CategoricalDistribution)  # noqa: S101 - `_distribution` makes no other
    return trial.suggest_categorical(name, item.choices)


def _distribution(text: str) -> BaseDistribution:
    """A list or a range. Raises ValueError where it is neither."""
    if ":" not in text:
        choices = [_value(part) for part in text.split(",")]
        if len(set(choices)) < len(choices):
            raise ValueError("a value is there twice")
        return CategoricalDistribution(choices)
    low, high, *more = text.split(":")
    if more not in ([], ["log"]):
        raise ValueError("only `log` may follow a range")
    ends = _value(low), _value(high)
    kind = IntDistribution if all(isinstance(end, int) for end in ends) else FloatDistribution
    if not all(isinstance(end, int | float) for end in ends) or not ends[0] < ends[1]:  # type: ignore[operator]
        raise ValueError("the ends of a range are numbers, the lower one first")
    made: BaseDistribution = kind(*ends, log=bool(more))  # type: ignore[arg-type]
    return made


def _value(text: str) -> int | float | bool | str:
    """A number, a truth value or a word."""
    if not text:
        raise ValueError("a value is missing")
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _ends(item: BaseDistribution) -> Sequence[Any]:
    """The values that must be in a parameter's range so that all are."""
    if isinstance(item, CategoricalDistribution):
        return item.choices
    assert isinstance(item, FloatDistribution | IntDistribution)  # noqa: S101 - as above
    return (item.low, item.high)


def _with(parameters: Mapping[str, Any], name: str, value: object) -> dict[str, Any]:
    """Nested parameters with another value for one of them."""
    first, _, rest = name.partition(".")
    return {**parameters, first: _with(parameters[first], rest, value) if rest else value}
