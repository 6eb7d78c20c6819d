"""A bank of ISO 20022, as the sandbox finds it."""

from pydantic import Field, field_validator

from services.sandbox.fate import Habits
from services.sandbox.iso20022 import signing
from services.sandbox.iso20022.files import PROVIDER as NAME
from services.sandbox.iso20022.player import Iso20022
from services.sandbox.provider import Provider, Terms


class IsoTerms(Terms):
    """A company's account and key, its directory, in which versions it wants its messages, and when its day ends."""

    account: str = Field(min_length=1)
    public_key_pem: str
    directory: str = ""
    status_version: str = Field(default="10", pattern="^[01][0-9]$")
    account_version: str = Field(default="08", pattern="^[01][0-9]$")
    statement_lag: str = Field(default="0", pattern="^[0-9]$")
    cut_off: str = Field(default="", pattern="^([0-2][0-9]:[0-5][0-9])?$")

    @field_validator("public_key_pem")
    @classmethod
    def _is_a_key(cls, value: str) -> str:
        signing.company_key(value)
        return value


PROVIDER = Provider(
    name=NAME,
    terms=IsoTerms,
    habits=Habits(qr_prefix=""),
    base_path=f"/{NAME}/{{account_id}}",
    play=Iso20022,
)
