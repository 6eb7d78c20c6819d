"""Simpay, as the sandbox finds it."""

from pydantic import Field

from services.sandbox.fate import Habits
from services.sandbox.provider import Provider, Terms
from services.sandbox.simpay.player import Simpay


class SimpayTerms(Terms):
    """The key that both sides sign with."""

    secret: str = Field(min_length=1)


PROVIDER = Provider(
    name="simpay",
    terms=SimpayTerms,
    habits=Habits(qr_prefix="simpay://pay/"),
    base_path="/simpay/{account_id}",
    play=Simpay,
)
