"""Coverage-guided fuzzing (``make fuzz``), and its seeds, which are tests too."""
