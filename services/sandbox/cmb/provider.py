"""CMB, as the sandbox finds it."""

from pydantic import Field, field_validator

from services.sandbox.cmb import envelope
from services.sandbox.cmb.player import API_PATH, Cmb
from services.sandbox.cmb.player import PROVIDER as NAME
from services.sandbox.fate import Habits
from services.sandbox.provider import Provider, Terms

CIPHER_KEY_LENGTH = 16


class CmbTerms(Terms):
    """A company's user, keys and account; how long its pages are, and when its day ends."""

    user_id: str = Field(min_length=1, max_length=30)
    cipher_key: str = Field(min_length=CIPHER_KEY_LENGTH, max_length=CIPHER_KEY_LENGTH)
    public_key: str
    account: str = Field(min_length=1)
    page_size: str = Field(default="200", pattern="^[1-9][0-9]{0,3}$")
    cut_off: str = Field(default="", pattern="^([0-2][0-9]:[0-5][0-9])?$")

    @field_validator("public_key")
    @classmethod
    def _is_an_sm2_key(cls, value: str) -> str:
        try:
            envelope.company_key(value)
        except ValueError as error:
            raise ValueError("is not an SM2 public key in base64") from error
        return value


PROVIDER = Provider(
    name=NAME,
    terms=CmbTerms,
    habits=Habits(qr_prefix=""),
    base_path=f"/{NAME}{API_PATH}",
    play=Cmb,
)
