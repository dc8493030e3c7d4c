"""Lets LocalStack 4.13 run on Python before 3.13: the container has 3.13, and two places were never run with an older one."""

import sys
import threading
import uuid
from hashlib import sha1


def apply() -> None:
    if sys.version_info < (3, 13):
        _import_with_lock_as_class()
    if sys.version_info < (3, 12):
        uuid.uuid5 = _uuid5


def _import_with_lock_as_class() -> None:
    """`threading.Lock` is a function there, so that the annotation `Lock | None` of that module throws."""
    lock = threading.Lock
    threading.Lock = type("Lock", (), {"__new__": lambda _: lock()})
    import localstack.packages.api  # noqa: F401

    threading.Lock = lock


def _uuid5(namespace: uuid.UUID, name: str | bytes) -> uuid.UUID:
    """Takes bytes too, which LocalStack's KMS gives."""
    name = name.encode() if isinstance(name, str) else name
    return uuid.UUID(bytes=sha1(namespace.bytes + name).digest()[:16], version=5)
