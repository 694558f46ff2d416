"""Fuzzing: hostile inputs for everything that parses, made by hypothesis from fixed seeds.

    engine.py       how many, from which seeds, counted, with a guard against hangs
    recipe.py       from hypothesis's bytes to an input: a specimen of the real thing, mutated
    specimens.py    what the real things look like
    test_*.py       for each parser one check of what must hold for every input

FUZZ=100000 makes that many inputs for each parser (`make fuzz`); the wrapper is called FUZZ / 100 times, at least 100.
"""
