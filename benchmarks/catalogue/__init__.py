"""Every method of the catalogue beside the controls: references, sweeps, points, frontier, tables and plots."""
