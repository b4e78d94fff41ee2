"""The Datasets page: the list, one dataset, adding one."""
