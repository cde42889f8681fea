"""What `millstream doctor` looks at: the software, this machine, the settings, the brokers, the topics."""

from millstream.diagnosis.doctor.brokers import broker_findings
from millstream.diagnosis.doctor.machine import machine_findings
from millstream.diagnosis.doctor.settings import settings_findings
from millstream.diagnosis.doctor.software import software_findings

__all__ = ["broker_findings", "machine_findings", "settings_findings", "software_findings"]
