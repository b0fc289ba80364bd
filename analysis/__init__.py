"""Reads records of runs and says what they prove: verdicts, tables, plots and one self-contained page.

Nothing here trains: this package imports neither torch nor the code that made the records.
"""
