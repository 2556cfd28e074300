"""YAML that a person wrote, and that nothing in it can turn into hours or gigabytes."""

from __future__ import annotations

from collections import Counter
from typing import Any

import yaml


class _Loader(yaml.SafeLoader):
    """As DVC reads it: no key twice; nor merged mappings, which can be made to fill any memory."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """As the SafeLoader; a key that stands twice or merges is refused."""
        names = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
        for key, _ in node.value:
            if key.tag == "tag:yaml.org,2002:merge":
                raise yaml.constructor.ConstructorError(None, None, "<< is not supported", key.start_mark)
            if isinstance(key, yaml.ScalarNode) and names[key.value] > 1:
                said = f"{str(key.value)[:60]} stands twice"
                raise yaml.constructor.ConstructorError(None, None, said, key.start_mark)
        return super().construct_mapping(node, deep)


def parse(text: str) -> Any:  # noqa: ANN401 - whatever stands there
    """The document.

    Raises:
        ValueError: It is none. The message is one line.
    """
    try:
        return yaml.load(text, _Loader)  # noqa: S506 - a SafeLoader
    except RecursionError:
        raise ValueError("brackets too deep") from None
    except Exception as error:  # PyYAML fails on a foreign number, date or tag in many ways
        raise ValueError(" ".join(str(error).split())) from None
