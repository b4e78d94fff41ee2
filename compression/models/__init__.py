"""What a model is here: the zoo, families of uploads, interpreted graphs, and how to walk one by its leaves."""
