"""HTTPS: the certificate is read again when its file changes, so that a renewal needs no restart."""

import logging
import ssl
from pathlib import Path

from stream.config.settings import ServeSettings
from stream.errors import ConfigError
from stream.logs import log_event

__all__ = ["Certificate"]


class Certificate:
    """Certificate and key, in a context that new connections use.

    Args:
        certfile: chain, PEM.
        keyfile: key, PEM.

    Raises:
        ConfigError: they cannot be read or do not belong together.
    """

    def __init__(self, certfile: Path, keyfile: Path) -> None:
        self._files = certfile, keyfile
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            self._stamps = self._dates()
            self.context.load_cert_chain(certfile, keyfile)
        except OSError as error:  # SSLError is one
            raise ConfigError(
                f"serve.tls_certfile, serve.tls_keyfile: expected a certificate and its key in PEM, got {certfile} and "
                f"{keyfile}: {error}"
            ) from error

    def refresh(self) -> None:
        """Read the files again if they have changed; what cannot be read changes nothing."""
        try:
            if (stamps := self._dates()) != self._stamps:
                self._stamps = stamps
                ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(*self._files)  # a failure spoils a context
                self.context.load_cert_chain(*self._files)
                log_event(logging.INFO, "certificate_read", file=self._files[0])
        except OSError as error:
            log_event(logging.WARNING, "certificate_kept", file=self._files[0], reason=str(error))

    def _dates(self) -> list[int]:
        return [file.stat().st_mtime_ns for file in self._files]

    @staticmethod
    def of(config: ServeSettings) -> "Certificate | None":
        """Return the certificate that the settings name, or None."""
        if config.tls_certfile is None or config.tls_keyfile is None:
            return None
        return Certificate(config.tls_certfile, config.tls_keyfile)
