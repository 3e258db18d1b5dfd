# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Passphrases of encrypted volumes, which libvirt keeps as secrets that nobody reads back."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from ...model.storage import Encryption
from ...undo import UndoStack
from .connection import LibvirtBase
from .errors import NO_SECRET, code_of
from .volumexml import Locked

if TYPE_CHECKING:
    import libvirt

CIPHER = re.compile(r"(aes|serpent|twofish|cast5)-(128|192|256)(?:-(xts|cbc|ecb)(?:-plain64)?)?")
_USAGE_VOLUME = 1
_USUAL_MODE = "xts"


class SecretsMixin(LibvirtBase):
    """Secrets of volumes."""

    def lock_for(self, path: str, encryption: Encryption, done: UndoStack) -> Locked:
        """Keep the passphrase for a volume that is yet to be made at ``path``."""
        self.remove_secret(path)
        root = Element("secret", ephemeral="no", private="yes")
        SubElement(root, "description").text = f"passphrase of {path}"
        SubElement(SubElement(root, "usage", type="volume"), "volume").text = path
        with self.guard(f"keep the passphrase of the volume {path!r}"):
            secret = self.conn.secretDefineXML(ElementTree.tostring(root, encoding="unicode"), 0)
            done.push(f"remove the passphrase of {path}", lambda: self.remove_secret(path))
            secret.setValue((encryption.passphrase or "").encode(), 0)
        match = CIPHER.fullmatch(encryption.cipher or "")
        cipher = None if match is None else (match.group(1), match.group(2), match.group(3) or _USUAL_MODE)
        return Locked(secret.UUIDString(), cipher)

    def remove_secret(self, path: str) -> None:
        """Forget the passphrase of the volume at ``path``; fine when there is none."""
        secret = self._volume_secret(path)
        if secret is not None:
            with self.guard(f"remove the passphrase of the volume {path!r}"):
                secret.undefine()

    def _volume_secret(self, path: str) -> libvirt.virSecret | None:
        try:
            return self.conn.secretLookupByUsage(_USAGE_VOLUME, path)
        except self.libvirt.libvirtError as error:
            if code_of(error) == NO_SECRET:
                return None
            with self.guard(f"look up the passphrase of the volume {path!r}"):
                raise
