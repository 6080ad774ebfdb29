"""A business whose facts are filled in, and its purposes and texts as they ship."""

from typing import Final

from bot.domain.purpose import Controller, Hosting, Operator
from bot.privacy.loading import load

OPERATOR: Final = Operator(
    Controller(
        name="Werkstatt Müller GmbH",
        address="Musterstraße 1, 12345 Musterstadt",
        contact="Telefon 01234 567890, post@werkstatt.example",
        authority="Landesbeauftragte für den Datenschutz, Prinzenstraße 5, Musterstadt",
        privacy_url="https://werkstatt.example/datenschutz",
        officer="Dr. Ada Klar, datenschutz@werkstatt.example",
        imprint="Geschäftsführung: Eva Müller\nHRB 1234",
    ),
    Hosting("Musterstadt"),
)
PRIVACY: Final = load(OPERATOR).privacy
