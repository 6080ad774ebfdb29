"""What `botschaft init` must know: the questions, and the judgement of what was answered."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_type_hints

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from bot.domain.errors import Fatal
from bot.settings import UserIdText

Kind = Literal["bot", "compose", "systemd"]

REMEMBERED = "kit.json"
"""The answers, kept beside what was made of them, so that a second run need not ask again."""

_HOST = re.compile(r"(?=.{4,200}$)([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)+[a-z][a-z0-9-]*[a-z0-9]")
_MAIL = re.compile(r"[\w.+-]{1,64}@[\w-]+(\.[\w-]+)+", re.ASCII)


def _host(value: str) -> str:
    if not _HOST.fullmatch(value):
        raise ValueError("expected a name like matrix.example.de (small letters)")
    return value


def _mail(value: str) -> str:
    if not _MAIL.fullmatch(value):
        raise ValueError("expected an address like chefin@example.de")
    return value


Host = Annotated[str, AfterValidator(_host)]
Mail = Annotated[str, AfterValidator(_mail)]


def _domain(user: str) -> str:
    return user.partition(":")[2]


@dataclass(frozen=True, slots=True)
class Question:
    """One thing that `init` must know. `default` is made from the answers so far; None: there is no default."""

    name: str
    text: str
    default: Callable[[Mapping[str, Any]], str] | None = None
    many: bool = False
    kinds: tuple[Kind, ...] = ("bot", "compose", "systemd")

    @property
    def option(self) -> str:
        """How the answer is given on the command line."""
        return "--" + self.name.replace("_", "-")

    def applies(self, answers: Mapping[str, Any]) -> bool:
        """Tell whether it matters for what is to be written."""
        return answers.get("kit", "bot") in self.kinds

    def read(self, text: str) -> str | list[str]:
        """Return an answer that was typed: several people are separated by commas or spaces."""
        return [part for part in re.split(r"[\s,]+", text) if part] if self.many else text.strip()

    def problem(self, answer: str | list[str]) -> str:
        """Return what is wrong with this answer by itself, or nothing."""
        try:
            TypeAdapter(get_type_hints(Answers, include_extras=True)[self.name]).validate_python(answer)
        except ValidationError as error:
            return _sentence(error.errors()[0])
        return ""


SERVER: tuple[Kind, ...] = ("compose", "systemd")


def _under_domain(prefix: str) -> Callable[[Mapping[str, Any]], str]:
    return lambda so_far: f"{prefix}.{_domain(so_far['user'])}"


QUESTIONS = (
    Question(
        "kit", "Set up what: bot (you have a Matrix server), compose or systemd (a whole server)", lambda _: "bot"
    ),
    Question("business", "Your business, as customers know it"),
    Question("user", "The bot's account, like @werkstatt:example.de; what follows the colon can never be changed"),
    Question("homeserver", "Address of your Matrix server", _under_domain("https://matrix"), kinds=("bot",)),
    Question("member", "Accounts of those who answer customers, like @jan:example.de @eva:example.de", many=True),
    Question("admin", "Accounts of those who see alarms", many=True),
    Question("language", "Language, de or en", lambda _: "de"),
    Question("matrix_host", "Name under which apps find the server", _under_domain("matrix"), kinds=SERVER),
    Question("element_host", "Name of the web client", _under_domain("chat"), kinds=SERVER),
    Question("mail", "Mail address for the certificates (Let's Encrypt)", kinds=SERVER),
    Question("federate_with", "Other servers whose people may write to you", lambda _: "", many=True, kinds=SERVER),
    Question("website", "Does the domain have a web site on another machine, yes or no", lambda _: "no", kinds=SERVER),
)


class Answers(BaseModel):
    """What `init` knows. The names are those of the questions and options."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kit: Kind = "bot"
    user: UserIdText
    business: Annotated[str, Field(min_length=1, max_length=80)]
    member: Annotated[list[UserIdText], Field(min_length=1)]
    admin: Annotated[list[UserIdText], Field(min_length=1)]
    language: Literal["de", "en"] = "de"
    homeserver: str = ""
    matrix_host: Host = ""
    element_host: Host = ""
    mail: Mail = ""
    federate_with: list[Host] = []
    website: bool = False

    @model_validator(mode="after")
    def _reachable(self) -> Self:
        """Refuse a server that its own people could not reach."""
        if self.kit != "bot":
            names = [_host(self.domain), self.matrix_host, self.element_host]
            if len(set(names)) < len(names):
                raise ValueError("The domain, the Matrix server and the web client need three different names")
            known = {self.domain, *self.federate_with}
            strangers = [user for user in (*self.member, *self.admin) if _domain(user) not in known]
            if strangers:
                raise ValueError(f"{', '.join(strangers)}: on no server that may write to {self.domain}")
        return self

    @property
    def domain(self) -> str:
        """The end of all user ids of the server."""
        return _domain(self.user)


def missing(given: Mapping[str, Any]) -> list[str]:
    """Return the options without which nothing can be written."""
    return [
        question.option
        for question in QUESTIONS
        if question.name not in given and question.default is None and question.applies(given)
    ]


def answers_from(given: Mapping[str, Any]) -> Answers:
    """Judge what was answered.

    Raises:
        Fatal: with everything that is wrong.
    """
    if still := missing(given):
        raise Fatal(
            f"Still needed: {', '.join(still)}. On a terminal `botschaft init` asks for it. Nothing was written."
        )
    defaults: dict[str, Any] = dict(given)
    for question in QUESTIONS:
        if question.name not in defaults and question.default and question.applies(defaults):
            defaults[question.name] = question.read(question.default(defaults))
    try:
        return Answers.model_validate(defaults)
    except ValidationError as error:
        raise Fatal("\n".join([*map(_complaint, error.errors()), "Nothing was written."])) from None


def _complaint(detail: Any) -> str:
    place = str(detail["loc"][0]).replace("_", "-") if detail["loc"] else ""
    return f"--{place}: {_sentence(detail)}." if place else f"{_sentence(detail)}."


def _sentence(detail: Any) -> str:
    return str(detail["msg"]).removeprefix("Value error, ").replace("Input should be", "expected")


def remembered(folder: Path) -> dict[str, Any]:
    """Return the answers of an earlier run in this folder.

    Raises:
        Fatal: the file is there and cannot be read.
    """
    try:
        found = json.loads((folder / REMEMBERED).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError:
        raise Fatal(f"{folder / REMEMBERED} is not JSON. Correct it, or remove it and answer again.") from None
    if not isinstance(found, dict):
        raise Fatal(f"{folder / REMEMBERED} does not hold answers. Remove it and answer again.")
    return found
