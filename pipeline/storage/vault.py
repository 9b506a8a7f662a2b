"""Encryption of keys and tokens at rest. Knows nothing of what the secrets are for."""

from collections.abc import Sequence

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from pipeline.domain.errors import ConfigurationError


class Vault:
    """Closes secrets with the newest key and opens them with any of the keys."""

    def __init__(self, keys: Sequence[str]) -> None:
        try:
            self._fernet = MultiFernet([Fernet(key) for key in keys])
        except ValueError as exc:
            raise ConfigurationError(
                "the encryption key must be 32 bytes in URL-safe base64: postiljon key new makes one"
            ) from exc

    def close(self, secret: str) -> bytes:
        """Encrypt a secret."""
        return self._fernet.encrypt(secret.encode())

    def open(self, sealed: bytes) -> str:
        """Decrypt a secret. Raises: ConfigurationError when none of the keys fits."""
        try:
            return self._fernet.decrypt(sealed).decode()
        except InvalidToken as exc:
            raise ConfigurationError(
                "a stored operator key cannot be decrypted: the encryption key is not the one it was stored with"
            ) from exc


def new_key() -> str:
    """Return a fresh key for the key file."""
    return Fernet.generate_key().decode()
