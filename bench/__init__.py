"""What the broker does per second on this machine, measured against what its parts can do there at best.

``python -m bench`` runs everything and prints one table (:mod:`bench.__main__`). Every figure is taken in turn with its
bare counterpart, in the same run and with the same number of workers, so that the ratios hold on a noisy machine.
"""

from pathlib import Path

ROOT = Path(__file__).parent.parent
"""Where the processes of a run are started: both packages are found there."""
