"""Everything computed again from the log, and compared with all that is there."""

from stream.verification.report import Parted, Report
from stream.verification.walk import Verification

__all__ = ["Parted", "Report", "Verification"]
