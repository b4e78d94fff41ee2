"""The Compare page: which points are shown, the address, the plot with its table, saved comparisons."""
