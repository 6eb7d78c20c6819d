"""All SQL of the service. Amounts are minor units; moments are aware UTC."""

from services.account.store.reading import Store
from services.account.store.writing import Overtaken, Writer

__all__ = ["Overtaken", "Store", "Writer"]
