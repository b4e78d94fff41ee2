"""Which dataset column each input of an uploaded model reads: proposed, checked, shown."""
