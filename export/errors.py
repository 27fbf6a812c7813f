"""Errors of an export; each message states what to do."""


class ExportError(Exception):
    """The model cannot be exported, or not with the same answers."""


class NoCompanion(ExportError):
    """No companion graph can be written for this model."""
