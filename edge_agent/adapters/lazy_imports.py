"""Leaves out modules that a library imports and this process does not use.

Theory of operation. paho-mqtt imports ``ssl`` for brokers with TLS and ``urllib.request`` for proxies;
hashlib imports OpenSSL's digests beside its own, shutil and zipfile compressions that no bundle has, numpy
``pickle``, dataclasses and numpy ``inspect`` for the text of docstrings. Together they use 8 MB, a sixth of
the daemon's memory. An import statement looks in ``sys.modules`` first, and None there means that the
module is unavailable (Python reference, 5.3.1). So the entries are set before the library is imported:
`without` makes an optional module unavailable, `on_demand` sets a module that is loaded when an attribute
of it is used. (`importlib.util.LazyLoader` is unsuitable: up to Python 3.11 the import statement itself
triggers the load.) After the block imports work as usual.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from types import ModuleType
from typing import Any

_OPENSSL_DIGESTS = "_hashlib"
# The interpreter's own SHA-256: one module until Python 3.11, another since 3.12; some build it out.
_OWN_DIGESTS = ("_sha256", "_sha2")
_COMPRESSIONS = ("bz2", "lzma")


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


@contextmanager
def daemon_libraries() -> Iterator[None]:
    """Let imports in the block go without what the daemon does not use of its libraries."""
    own_digests = any(importlib.util.find_spec(name) is not None for name in _OWN_DIGESTS)
    with (
        without(*_COMPRESSIONS, *((_OPENSSL_DIGESTS,) if own_digests else ())),
        on_demand("ipaddress"),
        on_demand("pickle"),
        # For docstrings, and for the signatures of numpy functions in C, which then have none.
        on_demand("inspect", cleandoc=str, signature=lambda function: None),
    ):
        yield


def restore_libraries() -> None:
    """Give the libraries all that they have elsewhere; code of others may ask for it."""
    if _OPENSSL_DIGESTS not in sys.modules:
        _reload("hashlib")
    for name in _COMPRESSIONS:
        with suppress(ImportError):  # an interpreter may be built without it
            compression = importlib.import_module(name)
            if "zipfile" in sys.modules:
                setattr(sys.modules["zipfile"], name, compression)
    _reload("shutil")


def _reload(name: str) -> None:
    if name in sys.modules:
        importlib.reload(sys.modules[name])
