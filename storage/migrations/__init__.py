"""The history of the tables, for Alembic. `storage.upgrade` runs it whenever a store is opened."""

HEAD = "0002"  # the newest file in versions/; a test compares the two
