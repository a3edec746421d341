"""Costs of the method, measured by hand and noted in NOTES.md; nothing here is a test, and no test is timed."""

from utils import quiet_imports

quiet_imports()
