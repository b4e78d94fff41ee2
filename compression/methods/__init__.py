"""The catalogue: importing this package registers every method. A new method adds one line here."""
