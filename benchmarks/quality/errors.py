"""What a person can put right: printed as one line."""

__all__ = ["QualityError"]


class QualityError(ValueError):
    """Wrong file, column, name or option, or a package that is not installed; the message says what to do."""
