"""What several pages draw with: the frame, links, tables, text, formats, live progress."""
