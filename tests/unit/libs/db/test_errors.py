"""A lost connection is told apart from a statement that was refused."""

import asyncpg
import pytest

from libs.db.errors import is_connection_lost


@pytest.mark.parametrize(
    "error",
    [
        asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation"),
        asyncpg.InterfaceError("connection is closed"),
        asyncpg.InterfaceError("pool is closing"),
        asyncpg.InternalClientError("unexpected state"),
        asyncpg.AdminShutdownError("terminating connection"),
        ConnectionResetError(),
        TimeoutError(),
    ],
)
def test_a_connection_that_went_away_leaves_the_outcome_open(error: Exception) -> None:
    assert is_connection_lost(error)


@pytest.mark.parametrize(
    "error",
    [
        asyncpg.UniqueViolationError("duplicate key"),
        asyncpg.SerializationError("could not serialize access"),
        asyncpg.DataError("invalid input for query argument $1"),
        asyncpg.InterfaceError("the server expects 1 argument for this query, 2 were passed"),
        asyncpg.QueryCanceledError("statement timeout"),
        ValueError(),
    ],
)
def test_a_refused_statement_has_a_known_outcome(error: Exception) -> None:
    assert not is_connection_lost(error)
