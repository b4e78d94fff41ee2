"""The engine of RecPress: compress a search or recommender model and measure what ships.

Usable alone, from Python or as `python -m compression`; it knows neither Streamlit nor SQL.
Importing the package loads no torch: records, recipes and the method catalogue are plain Python.
"""

__version__ = "0.1.0"
