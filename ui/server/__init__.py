"""What serves the pages: the gate before them, routes for bytes, uploads, tokens, start and end."""
