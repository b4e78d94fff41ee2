"""Figures: `*_points()` turns records into plain points and is tested, `draw_*()` turns points into a Plotly figure."""
