"""Contracts as test suites that a plug-in can import: what every method, importer, runtime, task … has to keep.

Needs pytest. Each module shows in its first lines how a suite is run over an entry of one's own.
"""
