"""What RecPress remembers: rows stay inside, frozen records come out. Start with `storage.store.open_store`."""
