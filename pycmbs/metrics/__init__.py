"""The broker's metrics: declared in table.py, counted in each process, summed in the engine, shown by exposition.py.

Imports nothing of the broker, since everything may count.
"""
