# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Power a Xen host on and off."""

from __future__ import annotations

import shlex
import shutil
import socket
import subprocess
import tempfile
import time
import uuid
from pathlib import Path
from types import TracebackType
from typing import IO

from lab.errors import LabError
from lab.proc import require_root_and_programs
from lab.xen.agent import Agent
from lab.xen.image import XenImage, built_image

# Taken away from QEMU's fullest CPU because a nested Xen trips over them: with SMAP the dom0 dies, with RDTSCP PVH
# and HVM guests hang, with AVX a migrated PVH guest crashes; without LA57 and PKU the emulation is faster.
_CPU = "max,-smap,-la57,-pku,-rdtscp,-avx,-avx2,-fma,-f16c,-vaes"
# Emulated processors need no protection from speculation, which costs time on each entry to the hypervisor.
_XEN_OPTIONS = (
    "console=com1 com1=115200,8n1 dom0_mem={dom0}M,max:{dom0}M dom0_max_vcpus=1 noreboot"
    " spec-ctrl=no xpti=off pv-l1tf=off"
)
_DOM0_OPTIONS = "console=hvc0 mitigations=off nomodeset quiet rdinit=/init"
_DOM0_MEMORY_MB = 768
_LIBVIRT_PORT = 16509
# The network of two neighbours, over which guests migrate.
_LINK = "10.98.0"
_LINK_DEVICE = "eth1"
_LINK_MAC = "52:54:00:98:00:0"
_CABLE = "cable.sock"


class XenHost:
    """One emulated machine with Xen, a Debian dom0 and libvirtd.

    The root disk is a throw-away layer over the cached image: every start is a first start. Several may run; one that
    is given a running neighbour has a cable to it. Usable as a context manager.
    """

    # Paths in dom0, for <kernel> and <initrd> of PV and PVH guests.
    guest_kernel = "/lab/guest/vmlinuz"
    guest_initrd = "/lab/guest/initrd.gz"
    # The guest prints a line with this beginning on its console when it is up.
    guest_ready = "ANYVIRT GUEST READY"
    bridge = "xenbr0"
    pool_folder = "/var/lib/libvirt/images"
    console_logs = "/var/log/xen/console"

    def __init__(
        self,
        name: str = "xen",
        memory_mb: int = 2048,
        image: XenImage | None = None,
        neighbour: XenHost | None = None,
    ) -> None:
        self.name = name
        self.memory_mb = memory_mb
        self._neighbour = neighbour
        self._image = image
        self._folder: Path | None = None
        self._port = 0
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> XenHost:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def uri(self) -> str:
        """libvirt's address of the host; another one after each start."""
        return f"xen+tcp://127.0.0.1:{self._port}/system"

    @property
    def link_address(self) -> str:
        """Where the neighbour reaches dom0."""
        return f"{_LINK}.{self._end_of_link}"

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int | None:
        """QEMU's process id while it runs."""
        return self._process.pid if self._process else None

    @property
    def console_log(self) -> str:
        """What Xen and dom0 have written on the serial console."""
        log = self._file("console.log")
        return log.read_text(errors="replace") if log.exists() else ""

    def start(self, timeout_s: float = 180) -> None:
        """Power on; returns when libvirtd answers at `uri`, LabError with the console's end when it does not."""
        if self.running:
            raise LabError(f"Xen host {self.name} is running already")
        require_root_and_programs("qemu-system-x86_64", "setpriv")
        image = self._image or built_image()
        self._folder = Path(tempfile.mkdtemp(prefix=f"anyvirt-xen-{self.name[:20]}-"))
        deadline = time.monotonic() + timeout_s
        try:
            self._power_on(image)
            self._wait_for_agent(deadline)
            self._plug_cable()
            self._check_libvirt()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Power off, whatever runs; does nothing when it is off."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def run(self, command: str, timeout_s: float = 60, check: bool = True) -> str:
        """Run a shell command as root in dom0 and return what it printed."""
        result = self._agent().run(command, timeout_s)
        if check and result.exit_code:
            raise LabError(f"in dom0: {command}: exit status {result.exit_code}: {result.output.strip()}")
        return result.output

    def guest_console(self, domain: str) -> str:
        """What the guest has written on its Xen console since the host started."""
        log = shlex.quote(f"{self.console_logs}/guest-{domain}.log")
        return self.run(f"cat {log} 2>/dev/null || true")

    def wait_for_guest(self, domain: str, text: str = guest_ready, times: int = 1, timeout_s: float = 120) -> str:
        """Wait until the guest's console holds `text` so many times (it outlives reboots); returns the console."""
        deadline = time.monotonic() + timeout_s
        while (console := self.guest_console(domain)).count(text) < times:
            if time.monotonic() > deadline:
                raise LabError(f"no {text!r} on the console of {domain} within {timeout_s:g} s: {console[-2000:]}")
            time.sleep(0.3)
        return console

    @property
    def _end_of_link(self) -> int:
        return 1 if self._neighbour is None else 2

    def _cable(self) -> str:
        if self._neighbour is None:
            return f"server=on,addr.type=unix,addr.path={self._file(_CABLE)}"
        return f"server=off,addr.type=unix,addr.path={self._neighbour._file(_CABLE)}"

    def _plug_cable(self) -> None:
        """Give dom0 its end, and both a name that the other one knows: libvirt tells Xen hosts apart by nothing else,
        and has guests migrated to the name."""
        self.run(f"hostname {shlex.quote(self.name)}")
        self.run(f"ip address add {self.link_address}/24 dev {_LINK_DEVICE} && ip link set {_LINK_DEVICE} up")
        self._make_known(self)
        if self._neighbour is not None:
            self._make_known(self._neighbour)
            self._neighbour._make_known(self)

    def _make_known(self, host: XenHost) -> None:
        self.run(f"echo {host.link_address} {shlex.quote(host.name)} >>/etc/hosts")

    def _file(self, name: str) -> Path:
        if self._folder is None:
            raise LabError(f"Xen host {self.name} is not running")
        return self._folder / name

    def _agent(self) -> Agent:
        return Agent(self._file("agent.sock"))

    def _power_on(self, image: XenImage) -> None:
        self._port = _free_port()
        with self._file("qemu.log").open("wb") as log:
            self._process = _spawn(self._qemu_command(image), log)

    def _qemu_command(self, image: XenImage) -> list[str]:
        # Commas separate the modules of -initrd, so those of the kernel's options would have to be doubled.
        modules = f"{image.kernel} {_DOM0_OPTIONS.replace(',', ',,')},{image.initrd}"
        return [
            "qemu-system-x86_64",
            "-name", f"anyvirt-xen-{self.name}",
            "-nodefaults", "-no-user-config",
            "-machine", "pc,usb=off",
            "-accel", "tcg,thread=multi,tb-size=512",
            "-cpu", _CPU,
            "-smp", "2",
            "-m", str(self.memory_mb),
            "-uuid", str(uuid.uuid4()),
            "-display", "none",
            "-vga", "none",
            "-serial", f"file:{self._file('console.log')}",
            "-device", "virtio-serial-pci",
            "-chardev", f"socket,id=agent,path={self._file('agent.sock')},server=on,wait=off",
            "-device", "virtserialport,chardev=agent,name=anyvirt.lab.agent",
            "-kernel", str(image.hypervisor),
            "-append", _XEN_OPTIONS.format(dom0=_DOM0_MEMORY_MB),
            "-initrd", modules,
            "-drive", f"if=none,id=root,file={image.root_disk},format=raw,snapshot=on,cache=unsafe",
            "-device", "virtio-blk-pci,drive=root",
            "-netdev", f"user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{self._port}-:{_LIBVIRT_PORT}",
            "-device", "virtio-net-pci,netdev=net,romfile=",
            "-netdev", f"stream,id=link,{self._cable()}",
            "-device", f"virtio-net-pci,netdev=link,romfile=,mac={_LINK_MAC}{self._end_of_link}",
        ]  # fmt: skip

    def _wait_for_agent(self, deadline: float) -> None:
        """The dom0 starts its agent once its own libvirt client got an answer."""
        while True:
            self._fail_if_ended()
            try:
                self.run("true", timeout_s=2)
                return
            except LabError as error:
                if time.monotonic() > deadline:
                    raise LabError(f"Xen host {self.name} does not come up: {self.console_log[-3000:]}") from error
            time.sleep(0.2)

    def _fail_if_ended(self) -> None:
        if not self.running:
            reason = self._file("qemu.log").read_text(errors="replace").strip()
            raise LabError(f"QEMU of Xen host {self.name} ended: {reason or self.console_log[-3000:]}")

    def _check_libvirt(self) -> None:
        try:
            import libvirt
        except ImportError as error:
            raise LabError("the Xen lab needs libvirt-python (pip install libvirt-python)") from error
        try:
            libvirt.open(self.uri).close()
        except libvirt.libvirtError as error:
            raise LabError(f"libvirtd of Xen host {self.name} does not answer at {self.uri}: {error}") from error


def _spawn(command: list[str], log: IO[bytes]) -> subprocess.Popen[bytes]:
    """Start it so that it cannot outlive us, however we end."""
    return subprocess.Popen(
        ["setpriv", "--pdeathsig", "KILL", *command], stdin=subprocess.DEVNULL, stdout=log, stderr=log
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
