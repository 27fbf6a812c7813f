"""What can be wrong with an export; the message says what to do."""


class ExportError(Exception):
    """The model cannot be exported as it must be."""
