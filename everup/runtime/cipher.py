"""Encryption at rest: AES-256-GCM with a key from a file of its own, or from the command that this file names."""

import base64
import binascii
import os
import secrets
import subprocess
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from everup.model.errors import EverupError, NotPermitted

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES = 32
NONCE_BYTES = 12
COMMAND = "command:"
"""A key file that starts so holds a shell command instead, which prints the key."""

COMMAND_S = 30.0
"""Seconds that such a command may take."""


class Cipher:
    """Seals and opens short texts. The key is read when it is first needed, and kept in memory from then on."""

    def __init__(self, key_file: Path) -> None:
        self.key_file = key_file

    def seal(self, text: str, about: str) -> str:
        """Encrypt a text, in ASCII; only who says the same `about` can open it.

        Blocks. Raises:
            EverupError: there is no usable key.
        """
        return base64.b64encode(self.wrap(text.encode(), about)).decode()

    def wrap(self, content: bytes, about: str) -> bytes:
        """`seal` for any bytes, with bytes as the answer."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        return nonce + self._aead.encrypt(nonce, content, about.encode())

    def open(self, sealed: str, about: str) -> str:
        """The text that was sealed. Blocks.

        Raises:
            EverupError: there is no usable key (`secret.key`), or it is not the one that sealed this (`secret.sealed`).
        """
        return self.unwrap(base64.b64decode(sealed), about).decode()

    def unwrap(self, wrapped: bytes, about: str) -> bytes:
        """`open` for what `wrap` made."""
        from cryptography.exceptions import InvalidTag

        try:
            return self._aead.decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], about.encode())
        except InvalidTag as error:
            raise EverupError(
                f"{about} was encrypted with another key than that of {self.key_file}, or was changed since",
                "Bring that key back, or set it again.",
                code="secret.sealed",
            ) from error

    def make_key(self) -> None:
        """Make a key file (mode 0600) where there is none, on the disk before it returns.

        Raises:
            EverupError: it cannot be written.
        """
        try:
            descriptor = os.open(self.key_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            return
        except OSError as error:
            raise self._unusable(error.strerror or "it cannot be made") from error
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(base64.urlsafe_b64encode(secrets.token_bytes(KEY_BYTES)) + b"\n")
                file.flush()
                os.fsync(file.fileno())
            folder = os.open(self.key_file.parent, os.O_RDONLY)
            os.fsync(folder)
            os.close(folder)
        except OSError as error:
            self.key_file.unlink(missing_ok=True)
            raise self._unusable(error.strerror or "it cannot be written") from error

    def key(self) -> str:
        """The key itself, in base64, for whoever keeps it elsewhere from now on.

        Raises:
            EverupError: it cannot be read, or is none.
        """
        return base64.b64encode(self._key()).decode()

    @cached_property
    def _aead(self) -> "AESGCM":
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        return AESGCM(self._key())

    def _key(self) -> bytes:
        text = self._read()
        if text.startswith(COMMAND):
            text = self._ask(text.removeprefix(COMMAND).strip())
        try:
            key = base64.b64decode(text.replace("-", "+").replace("_", "/"), validate=True)
        except binascii.Error:
            key = b""
        if len(key) != KEY_BYTES:
            raise self._unusable(f"its key is not {KEY_BYTES} bytes in base64", "openssl rand -base64 32 makes one.")
        return key

    def _read(self) -> str:
        try:
            if self.key_file.stat().st_mode & 0o077:
                raise NotPermitted(
                    f"other users may read the key {self.key_file}",
                    f"Close it, and set every secret anew: chmod 600 {self.key_file}",
                    code="secret.key",
                )
            return self.key_file.read_text().strip()
        except FileNotFoundError as error:
            make = f"openssl rand -base64 32 > {self.key_file} && chmod 600 {self.key_file}"
            hint = f"Bring it back. If it is lost for good, make another, and set every secret again: {make}"
            raise self._unusable("it is gone", hint) from error
        except (OSError, UnicodeDecodeError) as error:
            raise self._unusable(getattr(error, "strerror", "") or "it is not text") from error

    def _ask(self, command: str) -> str:
        try:
            done = subprocess.run(
                ["/bin/sh", "-c", command], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=COMMAND_S
            )
        except subprocess.TimeoutExpired as error:
            raise self._unusable(f"its command did not end within {COMMAND_S:g} s") from error
        except (OSError, UnicodeDecodeError) as error:
            raise self._unusable(f"its command cannot be run: {error}") from error
        if done.returncode:
            raise self._unusable(f"its command ended with {done.returncode}: {done.stderr.strip()[-200:]}")
        return done.stdout.strip()

    def _unusable(self, because: str, hint: str = "") -> EverupError:
        return EverupError(
            f"the key of the secrets, {self.key_file}, cannot be used: {because}", hint, code="secret.key"
        )
