"""Everything a person reads, in each language, under one key. Each language has the same keys and placeholders."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

_PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")

Catalogue = Mapping[str, Mapping[str, str]]


class TextsDiffer(ValueError):
    """The languages do not say the same; each line names a language and a key."""


@dataclass(frozen=True, slots=True)
class Texts:
    """Texts by language and key. Placeholders are plain names in braces; there is no other syntax."""

    catalogue: Catalogue

    def render(self, key: str, language: str, /, **values: str) -> str:
        """Return a text with its placeholders filled. Values are inserted as they are, once.

        Raises:
            KeyError: no such text, a placeholder without value, or a value without placeholder.
        """
        text = self.catalogue[language][key]
        wanted = set(_PLACEHOLDER.findall(text))
        if wanted != values.keys():
            raise KeyError(f"{key} takes {sorted(wanted)}, not {sorted(values)}")
        return _PLACEHOLDER.sub(lambda found: values[found.group(1)], text)

    def laid_over(self, language: str, changed: Mapping[str, str]) -> "Texts":
        """Return the texts with some of one language in other words, for example another form of address.

        Raises:
            TextsDiffer: naming every text that there is not, or that takes other placeholders.
        """
        before = self.catalogue.get(language, {})
        problems = [f"{language}: {key} is changed but does not exist" for key in sorted(changed.keys() - before)]
        problems += [
            f"{language}: {key} takes other placeholders when changed"
            for key in sorted(changed.keys() & before)
            if set(_PLACEHOLDER.findall(changed[key])) != set(_PLACEHOLDER.findall(before[key]))
        ]
        if problems:
            raise TextsDiffer("\n".join(problems))
        return Texts({**self.catalogue, language: {**before, **changed}})


def checked(catalogue: Catalogue) -> Texts:
    """Return the texts if all languages have the same keys with the same placeholders.

    Raises:
        TextsDiffer: naming every difference.
    """
    keys = {key for texts in catalogue.values() for key in texts}
    problems = [problem for key in sorted(keys) for problem in _differences(catalogue, key)]
    if problems:
        raise TextsDiffer("\n".join(problems))
    return Texts(catalogue)


def _differences(catalogue: Catalogue, key: str) -> list[str]:
    missing = [f"{language}: {key} is missing" for language, texts in catalogue.items() if key not in texts]
    if missing:
        return missing
    placeholders = {language: set(_PLACEHOLDER.findall(texts[key])) for language, texts in catalogue.items()}
    everything = set().union(*placeholders.values())
    return [
        f"{language}: {key} lacks {', '.join('{' + name + '}' for name in sorted(everything - found))}"
        for language, found in placeholders.items()
        if everything - found
    ]


def flat(tree: Mapping[str, object], prefix: str = "") -> dict[str, str]:
    """Turn nested tables into dotted keys."""
    texts: dict[str, str] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            texts |= flat(value, f"{prefix}{name}.")
        else:
            texts[prefix + name] = str(value)
    return texts
