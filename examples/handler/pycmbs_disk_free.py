"""The handler ``disk-free``: how much room is left where its target is, at the receiver of a message."""

from __future__ import annotations

import shutil
from typing import Any

from pycmbs.handlers import Call, handler


@handler("disk-free", deadline=5, idempotent=True)
def disk_free(call: Call) -> dict[str, Any]:
    """Bytes in all and free of the file system that holds the path ``call.target``. What it raises is the outcome, too."""
    usage = shutil.disk_usage(call.target or "/")
    return {"path": call.target or "/", "total": usage.total, "free": usage.free}
