"""Runs pOCCI (ETSI TS 103 142) in its own environment: it is translated from Python 2. See ``.ci/setup-venv``.

``python pocci.py URL MIMETYPE KIND [TEST …]`` prints pOCCI's own report as JSON. KIND is what the tests are pointed at.
"""

import re
import sys

_compile = re.compile


def _with_flags_in_front(pattern, flags=0):
    """What Python demands of patterns since 3.11: pOCCI has ``(?i)`` in their middle."""
    if isinstance(pattern, str) and "(?i)" in pattern[1:]:
        return _compile(pattern.replace("(?i)", ""), flags | re.IGNORECASE)
    return _compile(pattern, flags)


def main(url: str, mimetype: str, kind: str, *tests: str) -> None:
    """Run pOCCI as its command line does."""
    re.compile = _with_flags_in_front  # type: ignore[assignment]
    from pOCCI import CORE, occi_libs, pOCCI

    scheme, _, term = kind.rpartition("#")
    wanted = {"term": term, "scheme": scheme + "#", "class": "kind"}
    occi_libs.occi_config["occi.tests.category"] = wanted
    search = CORE.Test.search_category
    compute = {"term": "compute", "scheme": "http://schemas.ogf.org/occi/infrastructure#"}

    def pointed(filter):
        """DELETE/001 makes what it deletes at the location of compute, whatever kind it is pointed at."""
        return search(wanted if compute.items() <= filter.items() else filter)

    CORE.Test.search_category = staticmethod(pointed)
    chosen = ["-t", ",".join(tests)] if tests else []
    pOCCI.main(["-u", "user", "-p", "password", "-e", url, "-m", mimetype, "-f", "json", *chosen])


if __name__ == "__main__":
    main(*sys.argv[1:])
