"""What companies of a group owe one another, and what is in transit."""

from collections.abc import Sequence
from dataclasses import replace

from libs.paging import InvalidPageToken, Page, PageRequest
from services.account.domain import positions, texts
from services.account.domain.positions import IntercompanyTransfer, IntercompanyVerdict, Position
from services.account.domain.transit import TransitAccount
from services.account.store import Store
from services.account.usecases.posting import Posting

# Each account of a page is looked through.
TRANSIT_PAGE_MAX = 100
# Between the parts of a page's key; a control character that no id of ours holds.
_SEPARATOR = "\x1f"
_KEY_PARTS = 4


class Positions:
    """Lists positions and money in transit, and books what changes a position."""

    def __init__(self, store: Store, posting: Posting) -> None:
        """Book through `posting`."""
        self._store = store.positions
        self._posting = posting

    async def post(self, requested: Sequence[IntercompanyTransfer]) -> list[IntercompanyVerdict]:
        """Raise or settle positions in order, each on both sides or not at all. Idempotent by id."""
        texts.check_items("transfers", requested)
        named = {name for asked in requested for name in asked.account_ids}
        accounts = await self._store.get_accounts(named)
        refusals = [positions.refusal(asked, accounts) for asked in requested]
        chains = await self._posting.post_chains(
            [
                [] if error else positions.expand(asked)
                for asked, error in zip(requested, refusals, strict=True)
            ]
        )
        return [
            positions.verdict(asked, chain, error)
            for asked, chain, error in zip(requested, chains, refusals, strict=True)
        ]

    async def list_positions(
        self, *, entity_id: str, currency: str, is_open_only: bool, page: PageRequest
    ) -> Page[Position]:
        """Page through positions, each page one snapshot. Raises InvalidPageToken."""
        texts.check("entity_id", entity_id)
        page = page.about("positions", entity_id, currency, str(is_open_only))
        found = await self._store.list_positions(
            entity_id=entity_id,
            currency=currency,
            is_open_only=is_open_only,
            after=_key(page.after),
            limit=page.limit,
        )
        return page.page(found, lambda position: _SEPARATOR.join(position.key))

    async def list_in_transit(self, currency: str, page: PageRequest) -> Page[TransitAccount]:
        """Page through accounts of money in transit by id. Raises InvalidPageToken."""
        size = min(page.size or TRANSIT_PAGE_MAX, TRANSIT_PAGE_MAX)
        page = replace(page, size=size).about("in_transit", currency)
        found = await self._store.list_in_transit(
            currency=currency, after=page.after, limit=page.limit
        )
        return page.page(found, lambda account: account.account_id)


def _key(text: str) -> tuple[str, str, str, str]:
    """Where a page of positions ended. Raises InvalidPageToken."""
    parts = text.split(_SEPARATOR) if text else [""] * _KEY_PARTS
    if len(parts) != _KEY_PARTS:
        raise InvalidPageToken(field="page_token")
    tenant_id, currency, creditor_id, debtor_id = parts
    return tenant_id, currency, creditor_id, debtor_id
