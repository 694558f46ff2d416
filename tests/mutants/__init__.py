"""Mutation check (`make mutants`): the core is broken on purpose, one rule at a time, and the tests that guard the rule must notice.

`mutants.py` is the list, `__main__.py` runs it; tests/unit/test_mutants.py keeps the list honest in every `make test`.
"""
