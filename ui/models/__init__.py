"""The Models page: the list, one model, adding one by upload, training or binding again."""
