"""Who of the platform's people may call, and the keys that prove it."""

from libs.audit import NewRecord
from libs.clock import Clock
from libs.ids import IdSource
from services.gateway.domain import merchant, operators
from services.gateway.domain.errors import (
    OperatorExists,
    OperatorNotFound,
    OperatorTokenInvalid,
    RequestIdReused,
)
from services.gateway.store.operators import OperatorStore
from services.gateway.usecases.operations import Secrets


class Operators:
    """People and their keys. Their calls are few, so every one looks the key up: a revoked one is refused at once, everywhere."""

    def __init__(
        self, *, store: OperatorStore, clock: Clock, ids: IdSource, secrets: Secrets
    ) -> None:
        self._store = store
        self._clock = clock
        self._ids = ids
        self._secrets = secrets

    async def create(self, operator_id: str, request_id: str, *, actor_id: str) -> str:
        """The key. Raises OperatorExists, and RequestIdReused since a key is shown only once."""
        key_id, secret = self._ids.new("opk"), self._secrets.token()
        is_new = await self._store.add_key(
            key_id=key_id,
            operator_id=operator_id,
            request_id=request_id,
            secret_hash=merchant.secret_hash(secret),
            record=NewRecord(
                at=self._clock.now(),
                actor_id=actor_id,
                action="OPERATOR_CREATED",
                subject_id=operator_id,
                detail={"key_id": key_id},
            ),
        )
        if is_new:
            return operators.compose_operator_key(key_id, secret)
        if await self._store.is_request_known(request_id):
            raise RequestIdReused("this request_id made a key before", field="request_id")
        raise OperatorExists(field="operator_id")

    async def revoke(self, operator_id: str, *, actor_id: str) -> None:
        """Idempotent. Raises OperatorNotFound."""
        record = NewRecord(
            at=self._clock.now(),
            actor_id=actor_id,
            action="OPERATOR_REVOKED",
            subject_id=operator_id,
            detail={},
        )
        if not await self._store.revoke(operator_id, record):
            raise OperatorNotFound(field="operator_id")

    async def authenticate(self, operator_key: str) -> str:
        """The person behind a key. Raises OperatorTokenInvalid, which does not say what was wrong."""
        parsed = operators.parse_operator_key(operator_key)
        stored = await self._store.get_key(parsed[0]) if parsed else None
        if parsed is None or stored is None or not merchant.is_secret(parsed[1], stored[1]):
            raise OperatorTokenInvalid
        return stored[0]
