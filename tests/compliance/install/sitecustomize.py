"""Lets today's setuptools build pOCCI, whose setup.py asks for a translation from Python 2 that setuptools gave up.

On PYTHONPATH while pip builds it, and only then; ``.ci/setup-venv`` translates what was installed.
"""

import setuptools

_setup = setuptools.setup


def _without_translation(**given):
    given.pop("use_2to3", None)
    return _setup(**given)


setuptools.setup = _without_translation
