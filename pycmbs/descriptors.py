"""The limit of open files and connections of this process."""

from __future__ import annotations

import errno
import resource

EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
"""What a system call fails with that wants one more descriptor, or its memory, than there is just now."""


def room_for(wanted: int) -> int:
    """How many descriptors this process may have, after raising its soft limit to ``wanted`` as far as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return wanted
    if soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return soft
