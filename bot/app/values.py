"""What the admin wrote, turned into the plain values that everybody else works with."""

from datetime import timedelta
from zoneinfo import ZoneInfo

from bot.domain.door import Door, Gift, House
from bot.domain.ids import DeskId, UserId
from bot.domain.purpose import LANGUAGES, Controller, Federation, Hosting, Operator, Privacy, PurposeId
from bot.domain.texts import Texts
from bot.flows.surroundings import Desk, Rules
from bot.matrix.account import Login
from bot.matrix.e2ee.trust import Policy
from bot.privacy.files import Finding
from bot.privacy.loading import Loaded, PrivacyProblems, load
from bot.resources import resource_dir
from bot.settings import Settings, load_texts


def rules_of(settings: Settings) -> Rules:
    """Turn what the admin wrote into plain values."""
    desks = tuple(
        Desk(
            id=DeskId(desk.id),
            name=desk.name,
            members=tuple(UserId(member) for member in desk.members),
            keywords=tuple(desk.keywords),
            hours=settings.hours.at(desk.hours).hours() if desk.hours and desk.hours.model_fields_set else None,
            when_closed=DeskId(desk.when_closed) if desk.when_closed else None,
            language=desk.language,
        )
        for desk in settings.desks
    )
    return Rules(
        me=UserId(settings.bot.user_id),
        business=settings.business.name,
        language=settings.business.language,
        desks=desks,
        admins=tuple(UserId(admin) for admin in settings.admins),
        ignored=frozenset(UserId(user) for user in settings.customers.ignored),
        first_case_number=settings.cases.first_number,
        reopen_window=timedelta(days=settings.cases.reopen_days),
        rename_interval=timedelta(seconds=settings.cases.rename_interval_s),
        overview_interval=timedelta(seconds=settings.cases.overview_interval_s),
        automatic_per_hour=settings.customers.automatic_answers_per_hour,
        messages_per_minute=settings.customers.messages_per_minute,
        burst=settings.customers.burst,
        strangers_per_hour=settings.customers.strangers_per_hour,
        unreadable_notice_after=timedelta(seconds=settings.customers.unreadable_notice_after_s),
        door=door_of(settings),
        largest_open_file=settings.customers.largest_open_file_mib * 1024 * 1024,
        read_marks=settings.cases.read_marks,
        held_for=timedelta(seconds=settings.cases.held_for_s),
        news_interval=timedelta(seconds=settings.consent.news_interval_s),
        ask_at_close=tuple(PurposeId(purpose) for purpose in settings.consent.ask_at_close),
        hours=settings.hours.hours(),
        strict_customers=settings.customers.unsigned_devices == "refuse",
        zone=ZoneInfo(settings.hours.time_zone),
        escalation=tuple(timedelta(minutes=minutes) for minutes in settings.cases.escalation_minutes),
        close_after=timedelta(days=settings.cases.close_after_days),
        archive_after=timedelta(days=settings.cases.archive_after_days),
        ask_for_desk=settings.cases.ask_for_desk,
    )


def door_of(settings: Settings) -> Door:
    """Turn what the admin wrote about new customers into plain values."""
    chosen, bot = settings.door, UserId(settings.bot.user_id)
    provider = chosen.server or bot.partition(":")[2]
    return Door(
        House(
            settings.business.name,
            bot,
            provider,
            chosen.app_link,
            chosen.web_client,
            is_open=settings.federation.mode == "open",
        ),
        gives=Gift(chosen.gives),
        token_lasts=timedelta(days=chosen.token_days),
        slip_lasts=timedelta(hours=chosen.slip_hours),
        per_hour=chosen.per_hour,
        zone=ZoneInfo(settings.hours.time_zone),
    )


def login_of(settings: Settings) -> Login:
    """Return how to get into the bot's account."""
    return Login(UserId(settings.bot.user_id), settings.bot.secret_password(), settings.bot.device_name)


def policy_of(rules: Rules) -> Policy:
    """Return whose devices must be signed."""
    return Policy(rules.staff, rules.strict_customers)


def operator_of(settings: Settings) -> Operator:
    """Turn what the admin wrote about the business into plain values."""
    return Operator(
        controller=Controller(**{name: text.strip() for name, text in settings.controller.model_dump().items()}),
        hosting=Hosting(**{name: text.strip() for name, text in settings.hosting.model_dump().items()}),
        federation=Federation(settings.federation.mode),
        edition=settings.privacy.edition,
    )


def loaded_privacy(settings: Settings) -> Loaded | None:
    """Read purposes and privacy texts; None: who is responsible is not filled in, so nobody is shown or asked anything.

    Raises:
        PrivacyProblems: with everything that is wrong with them.
    """
    return read_privacy(settings) if settings.controller.is_filled_in else None


def read_privacy(settings: Settings) -> Loaded:
    """Read purposes and privacy texts, whoever is responsible.

    Raises:
        PrivacyProblems: with everything that is wrong with them.
    """
    loaded = load(operator_of(settings), settings.privacy.folder)
    unknown = set(settings.consent.ask_at_close) - _askable(loaded.privacy)
    if unknown:
        names = ", ".join(sorted(_askable(loaded.privacy))) or "none"
        what = f"{', '.join(sorted(unknown))}: nobody can be asked about that by itself; possible are: {names}"
        raise PrivacyProblems([Finding("consent", "ask_at_close", what)])
    return loaded


def _askable(privacy: Privacy) -> set[str]:
    """Return the purposes whose question needs nothing that only staff can fill in."""
    return {p.id for p in privacy.asked_for() if not privacy.question(p.id, LANGUAGES[0]).names}


def texts_of(settings: Settings) -> Texts:
    """Return what the bot says, in the tone that the admin chose."""
    return load_texts(resource_dir("config") / "texts", settings.business.tone)
