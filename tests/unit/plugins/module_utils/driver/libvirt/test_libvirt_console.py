# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Consoles: where the log is, its end from here or from afar, and VNC."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.errors import (
    NO_STORAGE_VOL,
    OPERATION_FAILED,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.libvirt.folders import PREFIX
from ansible_collections.anyvirt.compute.plugins.module_utils.errors import (
    HypervisorError,
    InvalidPowerState,
    NotFound,
    Unsupported,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.model.instance import VncConsole

REMOTE = "qemu+ssh://host/system"


def xml(devices: str) -> str:
    return f"<domain><name>web1</name><devices>{devices}</devices></domain>"


def logging_to(path: object) -> str:
    return xml(f"<serial type='pty'><log file='{path}' append='off'/></serial>")


@pytest.mark.parametrize("name", ["web1", "a b", "ümlaut", "semi;colon$(x)", "-dash", "a.b"])
def test_where_a_log_is_kept(stubs, name: str):
    for uri in ("qemu:///system", REMOTE, "qemu+unix:///system?socket=/run/x"):
        assert stubs.driver(uri=uri).console_log_path(name) == f"/var/log/libvirt/qemu/{name}.anyvirt-console.log"


def test_where_a_session_keeps_its_log(stubs, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/home/me/cache")
    path = stubs.driver(uri="qemu:///session").console_log_path("web1")
    assert path == "/home/me/cache/libvirt/qemu/log/web1.anyvirt-console.log"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/me")
    path = stubs.driver(uri="qemu:///session").console_log_path("web1")
    assert path == "/home/me/.cache/libvirt/qemu/log/web1.anyvirt-console.log"
    assert stubs.driver(uri="qemu+ssh://me@host/session").console_log_path("web1") is None


@pytest.mark.parametrize("uri", ["lxc:///", "xen:///system"])
def test_no_logs_there(stubs, uri: str):
    assert stubs.driver(uri=uri).console_log_path("web1") is None
    with pytest.raises(Unsupported, match="virsh console"):
        stubs.opened(stubs.domain(), uri=uri).get_console_output("web1")


def test_the_end_of_a_file_here(stubs, tmp_path: Path):
    log = tmp_path / "a log; of $(one)"
    log.write_bytes(b"0123456789")
    driver = stubs.opened(stubs.domain(XMLDesc=logging_to(log)))
    assert driver.get_console_output("web1") == b"0123456789"
    assert driver.get_console_output("web1", 4) == b"6789"
    assert driver.get_console_output("web1", 10) == b"0123456789"


def test_a_guest_that_logs_nowhere(stubs):
    driver = stubs.opened(stubs.domain(XMLDesc=xml("<serial type='pty'/>")))
    with pytest.raises(Unsupported, match="web1"):
        driver.get_console_output("web1")


def test_a_log_that_began_anew_within_one_run(stubs, tmp_path: Path):
    log, former = tmp_path / "log", tmp_path / "log.0"
    domain = stubs.domain(XMLDesc=logging_to(log), ID=7)
    driver = stubs.opened(domain)
    former.write_bytes(b"of an earlier run")
    log.write_bytes(b"a long first part")
    assert driver.get_console_output("web1") == b"a long first part"
    log.rename(former)
    log.write_bytes(b", end")
    assert driver.get_console_output("web1") == b"a long first part, end"
    assert driver.get_console_output("web1", 9) == b"part, end"
    assert driver.get_console_output("web1", 2) == b"nd"
    domain.answers["ID"] = 8
    log.write_bytes(b"new")
    assert driver.get_console_output("web1") == b"new"


class Afar:
    """A host whose files are reached by a pool over their folder."""

    def __init__(self, stubs: Any, files: dict[str, bytes], **answers: Any) -> None:
        self.stubs, self.files = stubs, files
        self.pool = stubs.Recorder(name=f"{PREFIX}1", refresh=0, destroy=0, storageVolLookupByName=self.volume)
        self.domain = stubs.domain(XMLDesc=logging_to("/logs/web1.log"))
        self.driver = stubs.opened(
            self.domain,
            uri=REMOTE,
            **{
                "storagePoolLookupByTargetPath": stubs.Error(49),
                "storagePoolCreateXML": self.pool,
                "newStream": lambda flags: stubs.Recorder(recv=stubs.Queue([b"", b""]), finish=0),
                **answers,
            },
        )

    def volume(self, name: str) -> Any:
        if name not in self.files:
            raise self.stubs.Error(NO_STORAGE_VOL, "Storage volume not found", 18)
        text = self.files[name]

        def download(stream: Any, offset: int, length: int, flags: int) -> int:
            stream.answers["recv"] = self.stubs.Queue(
                [text[offset : offset + 3], text[offset + 3 : offset + length], b""]
            )
            return 0

        # The guest wrote the header of an image of 2 EiB.
        return self.stubs.Recorder(info=[0, 1 << 61, len(text)], infoFlags=[0, 1 << 61, len(text)], download=download)


def test_the_end_of_a_file_afar(stubs):
    afar = Afar(stubs, {"web1.log": b"QFI\xfb56789"})
    assert afar.driver.get_console_output("web1") == b"QFI\xfb56789"
    assert afar.driver.get_console_output("web1", 5) == b"56789"
    assert afar.pool.called.count("destroy") == 2


def test_an_empty_or_missing_file_afar(stubs):
    assert Afar(stubs, {}).driver.get_console_output("web1") == b""
    assert Afar(stubs, {"web1.log": b""}).driver.get_console_output("web1") == b""


def test_a_folder_that_cannot_be_read_afar(stubs):
    refused = stubs.Error(OPERATION_FAILED, "cannot open the folder", 18)
    afar = Afar(stubs, {}, storagePoolCreateXML=refused)
    with pytest.raises(HypervisorError, match=r"/logs/web1\.log"):
        afar.driver.get_console_output("web1")


def test_a_local_file_that_cannot_be_read_is_asked_for(stubs):
    afar = Afar(stubs, {"web1.log": b"text"})
    afar.driver.options.uri = "qemu:///system"
    assert afar.driver.get_console_output("web1") == b"text"


@pytest.mark.parametrize(
    ("uri", "ours"),
    [
        ("qemu:///system", True),
        ("qemu:///session", True),
        ("qemu:///system?socket=/run/other", False),
        ("qemu+unix:///system?socket=/run/other", False),
        ("qemu+tcp://127.0.0.1/system", False),
        ("qemu://host/system", False),
    ],
)
def test_whose_files_are_ours(stubs, tmp_path: Path, uri: str, ours: bool):
    log = tmp_path / "web1.log"
    log.write_bytes(b"from here")
    afar = Afar(stubs, {"web1.log": b"from afar"})
    afar.domain.answers["XMLDesc"] = logging_to(log)
    afar.driver.options.uri = uri
    assert afar.driver.get_console_output("web1") == (b"from here" if ours else b"from afar")


def test_vnc(stubs):
    graphics = xml("<graphics type='spice'/><graphics type='vnc' port='5903' listen='0.0.0.0'/>")
    assert stubs.opened(stubs.domain(XMLDesc=graphics)).get_vnc_console("web1") == VncConsole("0.0.0.0", 5903)
    with pytest.raises(InvalidPowerState, match="web1"):
        stubs.opened(stubs.domain(state=5, XMLDesc=graphics)).get_vnc_console("web1")


@pytest.mark.parametrize("devices", ["", "<graphics type='spice' port='5903'/>", "<graphics type='vnc' port='-1'/>"])
def test_no_vnc(stubs, devices: str):
    with pytest.raises(NotFound, match="web1"):
        stubs.opened(stubs.domain(XMLDesc=xml(devices))).get_vnc_console("web1")
