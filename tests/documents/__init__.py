"""What the documents say is true: their commands run as printed, their tables are those of the code.

The conventions that the documents follow, so that these tests can read them:

- A fenced block ``sh`` is a script, run from the checkout's root. A fenced block ``json`` or ``text`` right after it, with
  nothing but blank lines between, is what it prints.
- In such an answer ``…`` stands for what was left out: on a line of its own, as an item ``"…"`` of a list, or in a string.
  Members of objects may be left out. Times, generated ids and ``attempts`` only have to look alike.
- A script that only looks (``curl`` with nothing but a URL) may need some time to show its answer: the reader looks again.
"""
