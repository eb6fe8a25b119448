"""What a broker tells of itself in numbers: :mod:`~pycmbs.metrics.table` has all that is counted, as numbers of each process;
fronts report theirs to the engine, which has the sum (:mod:`~pycmbs.metrics.reports`), and :mod:`~pycmbs.metrics.exposition`
renders it for Prometheus. Imports nothing of the broker, since everything may count."""
