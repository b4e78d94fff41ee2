"""Numbers read off the exported file by the runtime it ships for: quality, size and latency."""
