"""What the files say: botschaft.toml from its example, all else from the templates under `deploy/kit`."""

import re
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from bot.kit.answers import Answers
from bot.resources import resource_dir
from bot.settings import DAYS

STAFF_JOIN = "botschaft_staff_join"
_HOURS = re.compile(rf"^({'|'.join(DAYS)}) = .*$", re.MULTILINE)


def configuration(answers: Answers, folder: Path) -> str:
    """Return the text of botschaft.toml, for a kit in this folder: the example, with the answers in their places."""
    text = (resource_dir("config") / "botschaft.example.toml").read_text(encoding="utf-8")
    inside = {"compose": "http://synapse:8008", "systemd": "http://127.0.0.1:8008"}
    replaced = {
        'url = "https://matrix.example.de"': f"url = {_quoted(inside.get(answers.kit, answers.homeserver))}",
        'user_id = "@werkstatt:example.de"': f"user_id = {_quoted(answers.user)}",
        'display_name = "Werkstatt Müller"': f"display_name = {_quoted(answers.business)}",
        '\nname = "Werkstatt Müller"': f"\nname = {_quoted(answers.business)}",
        'language = "de"': f"language = {_quoted(answers.language)}",
        'members = ["@jan:example.de", "@eva:example.de"]': f"members = {_list(answers.member)}",
        'admins = ["@chefin:example.de"]': f"admins = {_list(answers.admin)}",
        'holidays = "DE-NW"': 'holidays = ""',
        'closed = ["2026-12-24/2027-01-02"]': "closed = []",
    }
    if answers.kit == "compose":
        replaced["allow_insecure_http = false"] = "allow_insecure_http = true"
    if answers.element_host:
        replaced['web_client = ""'] = f"web_client = {_quoted(f'https://{answers.element_host}')}"
    if answers.federate_with:
        replaced['mode = "closed"'] = 'mode = "listed"'
    if answers.kit != "bot":
        place = "" if answers.kit == "compose" else str(folder.resolve())
        replaced['\nfile = ""'] = f"\nfile = {_quoted(f'{place}/staff/staff.txt')}"
        replaced['target = "backups"'] = f"target = {_quoted(f'{place}/backups')}"
        replaced['web_client = ""'] = f"web_client = {_quoted(f'https://{answers.element_host}')}"
    for example, answer in replaced.items():
        text = text.replace(example, answer)
    return _HOURS.sub(r"\1 = []", text)  # invented ones would be told to customers


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _list(values: list[str]) -> str:
    return "[" + ", ".join(_quoted(value) for value in values) + "]"


def rendered(answers: Answers, folder: Path) -> dict[str, str]:
    """Return the files that come from templates, by their name in the kit. What renders to nothing is left out."""
    deploy = resource_dir("deploy")
    place = folder.resolve()
    in_container = answers.kit == "compose"
    known = answers.model_dump() | {
        "domain": answers.domain,
        "paths": {
            "folder": str(place),
            "config": "/config" if in_container else str(place / "synapse"),
            "media": "/media" if in_container else str(place / "synapse/media"),
            "staff": "/staff" if in_container else str(place / "staff"),
            "privacy": "/privacy" if in_container else str(place / "privacy"),
            "well_known": "/well-known" if in_container else str(place / "well-known/matrix"),
        },
        "upstream": "synapse:8008" if in_container else "127.0.0.1:8008",
    }
    files = {".env": (deploy / "versions.env").read_text(encoding="utf-8")}
    for module in (deploy / "staff_join" / STAFF_JOIN).glob("*.py"):
        files[f"synapse/modules/{STAFF_JOIN}/{module.name}"] = module.read_text(encoding="utf-8")
    for part in ("common", answers.kit):
        templates = _templates(deploy / "kit" / part)
        for name in templates.list_templates():
            text = templates.get_template(name).render(known)
            if text.strip():
                files[name] = text
    return files


def _templates(folder: Path) -> Environment:
    # Nothing here becomes HTML; in YAML and JSON every answer is quoted by `tojson`.
    environment = Environment(  # noqa: S701
        loader=FileSystemLoader(folder), undefined=StrictUndefined, keep_trailing_newline=True
    )
    environment.policies["json.dumps_kwargs"] = {"ensure_ascii": False}
    environment.filters["words"] = _words
    return environment


def _words(value: str) -> str:
    """Return a name for a comment or a description: one line, and no sign that means something to systemd."""
    return re.sub(r"[^\w .,&+()-]", " ", value)
