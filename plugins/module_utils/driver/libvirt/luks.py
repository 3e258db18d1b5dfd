# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The passphrase of an encrypted volume: libvirt keeps it as a secret that is known by the volume's path."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from ...errors import InvalidInput, Problem
from ...undo import UndoStack
from .errors import NO_SECRET, code_of
from .secrets import SecretsMixin

if TYPE_CHECKING:
    import libvirt


class LuksMixin(SecretsMixin):
    """Secrets of volumes."""

    def keep_secret(self, what: str, path: str, passphrase: str | None, done: UndoStack) -> None:
        """Make the secret that opens the volume at ``path`` from the passphrase, when there is none. It stays with the
        volume when that is detached.

        Args:
            what: The volume, as messages call it.

        Raises:
            InvalidInput: there is no secret and no passphrase either.
        """
        with self.guard(f"look up the secret of {what}"):
            secret = self._volume_secret(path)
            value = None if secret is None else self._value_of(secret)
        if value is None and passphrase is None:
            needed = f"{what} is encrypted, and the host has no secret for it; give its passphrase"
            raise InvalidInput([Problem("passphrase", needed)])
        with self.guard(f"keep the secret of {what}"):
            if secret is None:
                secret = made = self.conn.secretDefineXML(_secret_document(path))
                done.push(f"remove the secret of {what}", made.undefine)
            if passphrase is not None and value not in (_UNREADABLE, passphrase.encode()):
                # Without a value it is left of a run that was cut short.
                self._set_value(secret, passphrase.encode())
                if value is not None:
                    old, kept = value, secret
                    done.push(f"put back the secret of {what}", lambda: self._set_value(kept, old))

    def knows_passphrase(self, path: str) -> bool:
        """Whether there is a secret that opens the volume at ``path``."""
        with self.guard(f"look up the secret of the volume at {path!r}"):
            return self._volume_secret(path) is not None

    def readable_passphrase(self, path: str) -> str | None:
        """The passphrase of the volume at ``path``; None where libvirt has none, tells it to nobody, or where it is no
        text."""
        with self.guard(f"look up the secret of the volume at {path!r}"):
            secret = self._volume_secret(path)
            value = None if secret is None else self._value_of(secret)
        try:
            return None if value is None or value == _UNREADABLE else value.decode()
        except UnicodeDecodeError:
            return None

    def _value_of(self, secret: libvirt.virSecret) -> bytes | None:
        """What is in it; None when nothing is."""
        try:
            return bytes(secret.value(0))
        except self.libvirt.libvirtError as error:
            return None if code_of(error) == NO_SECRET else _UNREADABLE

    @staticmethod
    def _set_value(secret: libvirt.virSecret, value: bytes) -> None:
        secret.setValue(value, 0)


_UNREADABLE = b"\0unreadable"
"""Stands for the value of a private secret, which libvirt tells nobody."""


def _secret_document(path: str) -> str:
    root = Element("secret", {"ephemeral": "no", "private": "no"})
    SubElement(root, "description").text = f"opens {path}"
    SubElement(SubElement(root, "usage", {"type": "volume"}), "volume").text = path
    return ElementTree.tostring(root, encoding="unicode")
