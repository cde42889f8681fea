"""Everything computed again from the log, and compared with all that is there."""

from stream.durability.verification.report import Parted, Report
from stream.durability.verification.verifier import Verification

__all__ = ["Parted", "Report", "Verification"]
