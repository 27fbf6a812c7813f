"""From stored values to grey levels, as the header says they are displayed."""
