"""What `botschaft init` must know: the questions, and the judgement of what was answered."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_type_hints

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from bot.domain.errors import Fatal
from bot.expected import sentence
from bot.settings import UserIdText, server_address

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


def _yes_or_no(value: object) -> object:
    known = {"yes": True, "y": True, "ja": True, "j": True, "no": False, "n": False, "nein": False}
    if not isinstance(value, str):
        return value
    if value.casefold() not in known:
        raise ValueError("expected yes or no")
    return known[value.casefold()]


Host = Annotated[str, AfterValidator(_host)]
Mail = Annotated[str, AfterValidator(_mail)]
Address = Annotated[str, AfterValidator(lambda url: url and server_address(url))]
YesOrNo = Annotated[bool, BeforeValidator(_yes_or_no)]


def _domain(user: str) -> str:
    return user.partition(":")[2]


@dataclass(frozen=True, slots=True)
class Question:
    """One thing that `init` must know: what, what for, and how an answer looks.

    `default` is made from the answers so far; None: there is no default.
    """

    name: str
    text: str
    reason: str
    example: str
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

    def problem(self, answer: str | list[str], so_far: Mapping[str, Any]) -> str:
        """Return what is wrong with this answer, by itself or beside those before it, or nothing."""
        if not answer and self.default is None:
            return "this is needed, and nothing can be guessed here"
        try:
            TypeAdapter(get_type_hints(Answers, include_extras=True)[self.name]).validate_python(answer)
        except ValidationError as error:
            return sentence(error.errors()[0])
        # What does not go together by options or by an earlier run is no fault of this answer.
        return "" if _conflict(so_far) else _conflict({**so_far, self.name: answer})


SERVER: tuple[Kind, ...] = ("compose", "systemd")


def _under_domain(prefix: str) -> Callable[[Mapping[str, Any]], str]:
    return lambda so_far: f"{prefix}.{_domain(so_far['user'])}"


QUESTIONS = (
    Question(
        "kit",
        "What to set up",
        "bot: you have a Matrix server, and the bot joins it. compose: a whole server in containers. systemd: a whole "
        "server as services of Debian.",
        "compose",
        lambda _: "bot",
    ),
    Question(
        "business",
        "The name of your business",
        "Customers read it first, and it is the name of the bot's account.",
        "Werkstatt Müller",
    ),
    Question(
        "user",
        "The bot's account",
        "Customers write to it. What follows the colon is your domain: all user names end in it, for ever.",
        "@werkstatt:example.de",
    ),
    Question(
        "homeserver",
        "The address of your Matrix server",
        "Where the bot finds it: https, or http on this very machine.",
        "https://matrix.example.de",
        _under_domain("https://matrix"),
        kinds=("bot",),
    ),
    Question(
        "matrix_host",
        "The name of the Matrix server",
        "Apps reach it there. It needs a DNS record that leads to this machine.",
        "matrix.example.de",
        _under_domain("matrix"),
        kinds=SERVER,
    ),
    Question(
        "element_host",
        "The name of the web client",
        "Your team opens it in a browser. It needs a DNS record that leads to this machine.",
        "chat.example.de",
        _under_domain("chat"),
        kinds=SERVER,
    ),
    Question(
        "website",
        "Is the web site of your domain on another machine?",
        "yes: you put a small folder there, which says where your Matrix server is. no: this machine answers for it.",
        "yes",
        lambda _: "no",
        kinds=SERVER,
    ),
    Question(
        "federate_with",
        "Other Matrix servers whose people may write to you",
        "Each of them keeps its own copy of those chats. Enter alone: none, everybody has an account with you.",
        "partner.example",
        lambda _: "",
        many=True,
        kinds=SERVER,
    ),
    Question(
        "mail",
        "A mail address for the certificates",
        "Let's Encrypt, who issues them, gets it.",
        "chefin@example.de",
        kinds=SERVER,
    ),
    Question(
        "member",
        "The accounts of those who answer customers",
        "One or more, with commas or spaces between. Who has no account yet gets it later, under this name.",
        "@jan:example.de @eva:example.de",
        many=True,
    ),
    Question(
        "admin",
        "The accounts of those who see alarms",
        "They also take people in and out. One or more; the same people as before are fine.",
        "@chefin:example.de",
        many=True,
    ),
    Question(
        "language",
        "The language",
        "Everything the bot says to customers and to your team: de or en.",
        "de",
        lambda _: "de",
    ),
)


def _conflict(answers: Mapping[str, Any]) -> str:
    """Return what does not go together: a server that its own people could not reach; or nothing."""
    if answers.get("kit", "bot") == "bot" or "user" not in answers:
        return ""
    domain = _domain(answers["user"])
    if not _HOST.fullmatch(domain):
        return "expected a name like example.de after the colon"
    names = [domain, *filter(None, (answers.get("matrix_host"), answers.get("element_host")))]
    if len(set(names)) < len(names):
        return "The domain, the Matrix server and the web client need three different names"
    if "federate_with" not in answers:
        return ""
    people = (*answers.get("member", ()), *answers.get("admin", ()))
    strangers = [user for user in people if _domain(user) not in {domain, *answers["federate_with"]}]
    return f"{', '.join(strangers)}: on no server that may write to {domain}" if strangers else ""


class Answers(BaseModel):
    """What `init` knows. The names are those of the questions and options."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kit: Kind = "bot"
    user: UserIdText
    business: Annotated[str, Field(min_length=1, max_length=80)]
    member: Annotated[list[UserIdText], Field(min_length=1)]
    admin: Annotated[list[UserIdText], Field(min_length=1)]
    language: Literal["de", "en"] = "de"
    homeserver: Address = ""
    matrix_host: Host = ""
    element_host: Host = ""
    mail: Mail = ""
    federate_with: list[Host] = []
    website: YesOrNo = False

    @model_validator(mode="after")
    def _together(self) -> Self:
        if problem := _conflict(self.model_dump()):
            raise ValueError(problem)
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
    return f"--{place}: {sentence(detail)}." if place else f"{sentence(detail)}."


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
