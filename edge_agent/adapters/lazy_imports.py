"""Imports without what libraries import and this process does not use.

Theory of operation. Libraries import for all their users: paho-mqtt brings ``ssl`` for brokers with TLS and
``urllib.request`` for proxies, hashlib brings OpenSSL's digests beside its own. That is 7 MB, one part in six
of a daemon. An import takes what is in ``sys.modules``, and None there means that a module can't be had
(Python reference, 5.3.1), so the table is laid before the library comes: `without` withholds a module that
is optional, `on_demand` leaves one that loads when something in it is used. (`importlib.util.LazyLoader`
would, but up to Python 3.11 the import statement itself sets it off.) After the block imports are as ever.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any

_OPENSSL_DIGESTS = "_hashlib"
# The interpreter's own SHA-256: one module until Python 3.11, another since 3.12; some build it out.
_OWN_DIGESTS = ("_sha256", "_sha2")


class OnDemand(ModuleType):
    """Stands in for a module until something in it is used.

    Parameters
    ----------
    name : str
        The module's.
    meanwhile : mapping of str to object
        What there is in it without loading it.
    """

    def __init__(self, name: str, meanwhile: Mapping[str, object]) -> None:
        super().__init__(name)
        self._meanwhile = meanwhile

    def __getattr__(self, name: str) -> Any:
        there = sys.modules.get(self.__name__, self)
        if there is not self:
            return getattr(there, name)
        if name.startswith("__"):  # the import statement asks
            raise AttributeError(name)
        if name in self._meanwhile:
            return self._meanwhile[name]
        sys.modules.pop(self.__name__, None)
        return getattr(importlib.import_module(self.__name__), name)


@contextmanager
def without(*names: str) -> Iterator[None]:
    """Let imports in the block go without modules ``names``, those that are loaded already excepted."""
    absent = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(absent))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in absent:
            del sys.modules[name]


@contextmanager
def on_demand(name: str, **meanwhile: object) -> Iterator[None]:
    """Let imports in the block take an `OnDemand` for module ``name``, unless that is loaded already."""
    if name in sys.modules:
        yield
        return
    package, _, child = name.rpartition(".")
    stand_in = sys.modules[name] = OnDemand(name, meanwhile)
    if package:
        setattr(importlib.import_module(package), child, stand_in)
    try:
        yield
    finally:
        if sys.modules.get(name) is stand_in:
            del sys.modules[name]


def own_digests() -> tuple[str, ...]:
    """Return what to import without, so that hashlib takes the interpreter's own digests."""
    found = any(importlib.util.find_spec(name) is not None for name in _OWN_DIGESTS)
    return (_OPENSSL_DIGESTS,) if found else ()


def whole_digests() -> None:
    """Give hashlib all that it has elsewhere; code of others may ask for it."""
    if "hashlib" in sys.modules and _OPENSSL_DIGESTS not in sys.modules:
        importlib.reload(sys.modules["hashlib"])
