"""``python -m pycmbs`` is the command ``pycmbs``."""

import sys

from pycmbs.cli import main

sys.exit(main())
