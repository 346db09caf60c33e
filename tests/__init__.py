"""The suite.

Every folder has an ``__init__.py``: modules of one name may stand in several, and share ``tests.support``.
"""
