"""Print, one in a line, what is installed here that a project does not need: `python needed.py botschaft`.

The image installs everything that was tested, by hash, and then removes what only the demo and the tests use.
"""

import importlib.metadata
import sys

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

KEPT = {"pip"}


def needed(project: str, extras: frozenset[str] = frozenset()) -> set[str]:
    """Return the names of a project and of everything that it requires, in this environment."""
    found: set[str] = set()
    waiting = [(canonicalize_name(project), extras)]
    while waiting:
        name, wanted = waiting.pop()
        if name in found and not wanted:
            continue
        found.add(name)
        for text in importlib.metadata.requires(name) or []:
            requirement = Requirement(text)
            environments = [{"extra": extra} for extra in wanted or {""}]
            if requirement.marker is None or any(requirement.marker.evaluate(each) for each in environments):
                child = canonicalize_name(requirement.name)
                if child not in found or requirement.extras:
                    waiting.append((child, frozenset(requirement.extras)))
    return found


if __name__ == "__main__":
    keep = needed(sys.argv[1]) | KEPT
    installed = {canonicalize_name(found.metadata["Name"]) for found in importlib.metadata.distributions()}
    sys.stdout.write("".join(f"{name}\n" for name in sorted(installed - keep)))
