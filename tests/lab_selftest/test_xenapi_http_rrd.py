# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""GET /rrd_updates."""

from __future__ import annotations

import http.client
import math
import time
from urllib.parse import urlencode, urlsplit
from xml.etree import ElementTree

import pytest

from lab.xenapi_objects import MIB, make_disk, make_vdi, make_vm, network_named, sr_named, start, vif_record


@pytest.fixture
def vm(xenapi):
    """A running VM with two vCPUs, a disk and an interface."""
    vm = make_vm(xenapi, VCPUs_max="2", VCPUs_at_startup="2")
    make_disk(xenapi, vm, make_vdi(xenapi, sr_named(xenapi, "shared")))
    xenapi.VIF.create(vif_record(vm, network_named(xenapi, "lab")))
    start(xenapi, vm)
    return vm


@pytest.fixture
def guest(xenapi_server, vm):
    return xenapi_server.world.guests[vm]


@pytest.fixture
def ask(xenapi, xenapi_server, xenapi_session, vm):
    """What a host tells; unless said otherwise that of the VM."""
    names = {xenapi.host.get_name_label(host): host for host in xenapi.host.get_all()}
    urls = dict(zip(sorted(names), [xenapi_server.url, *xenapi_server.slave_urls], strict=True))
    home = xenapi.host.get_name_label(xenapi.VM.get_resident_on(vm))

    def get(at=home, **query):
        connection = http.client.HTTPConnection(urlsplit(urls[at]).netloc, timeout=10)
        try:
            connection.request("GET", f"/rrd_updates?{urlencode({'session_id': xenapi_session._session, **query})}")
            response = connection.getresponse()
            assert response.status == 200
            return _Answer(response.read())
        finally:
            connection.close()

    get.home, get.other = home, next(name for name in urls if name != home)
    return get


class _Answer:
    def __init__(self, text):
        root = ElementTree.fromstring(text)
        meta = {item.tag: item.text for item in root.find("meta") if item.tag != "legend"}
        self.start, self.step, self.end, self.rows, self.columns = (
            int(meta[name]) for name in ("start", "step", "end", "rows", "columns")
        )
        self.legend = [entry.text for entry in root.iterfind("meta/legend/entry")]
        rows = root.findall("data/row")
        self.times = [int(row.findtext("t")) for row in rows]
        self.values = [[float(cell.text) for cell in row.findall("v")] for row in rows]

    def column(self, name):
        """Time and value of each row."""
        index = next(index for index, entry in enumerate(self.legend) if entry.endswith(name))
        return [(time_s, row[index]) for time_s, row in zip(self.times, self.values, strict=True)]


def test_form(xenapi, ask, guest, vm):
    guest.started -= 3600
    answer = ask(start=int(time.time()) - 120, cf="AVERAGE", interval=5, vm_uuid=xenapi.VM.get_uuid(vm))
    uuid = xenapi.VM.get_uuid(vm)
    names = {entry.removeprefix(f"AVERAGE:vm:{uuid}:") for entry in answer.legend}
    assert names >= {
        "cpu0", "cpu1", "memory", "memory_internal_free", "vbd_xvda_read", "vbd_xvda_write", "vbd_xvda_iops_read",
        "vbd_xvda_iops_write", "vif_0_rx", "vif_0_tx",
    }  # fmt: skip
    assert (answer.step, answer.columns, answer.rows) == (5, len(answer.legend), len(answer.times))
    assert answer.end == answer.times[0], "the newest comes first"
    assert answer.start == answer.times[-1]
    assert all(later - earlier == 5 for later, earlier in zip(answer.times, answer.times[1:], strict=False))
    assert 23 <= answer.rows <= 25
    assert {value for _time, value in answer.column(":memory")} == {128.0 * MIB}
    assert {value for _time, value in answer.column("cpu1")} == {guest.cpu_share}


@pytest.mark.parametrize(("step", "age"), [(5, 300), (60, 6000), (3600, 100 * 3600), (86400, 100 * 86400)])
def test_the_integral_is_what_was_moved(ask, guest, step, age):
    guest.started = time.time() - age
    answer = ask(start=-age - 2 * step if age + 2 * step < 365 * 86400 else 0, interval=step)
    assert answer.step == step
    known = [(end, value) for end, value in answer.column("vbd_xvda_write") if not math.isnan(value)]
    moved = sum(value * min(step, end - guest.started) for end, value in known)
    expected = guest.vbd_write_rate * (answer.end - guest.started)
    assert moved == pytest.approx(expected, abs=guest.vbd_write_rate * step / 2), "half an unknown step may be missing"
    assert all(math.isnan(value) for end, value in answer.column("vbd_xvda_write") if end <= guest.started)


def test_which_archive(ask, guest):
    guest.started -= 86400
    now = int(time.time())
    assert ask(start=now - 500).step == 5
    assert ask(start=now - 3600).step == 60
    assert ask(start=now - 86400).step == 3600
    assert ask(start=now - 100 * 86400).step == 86400
    assert ask().step == 86400
    assert ask(start=now - 500, interval=60).step == 60
    assert ask(start=now - 500, interval=61).step == 3600
    assert len(ask(start=-3600 * 24 * 30, interval=60).times) <= 366


def test_a_host_tells_of_its_own_vms_only(xenapi, ask, vm):
    uuid = xenapi.VM.get_uuid(vm)
    assert any(f":{uuid}:" in entry for entry in ask(start=-60).legend)
    assert not any(f":{uuid}:" in entry for entry in ask(ask.other, start=-60).legend)
    xenapi.VM.hard_shutdown(vm)
    assert not any(f":{uuid}:" in entry for entry in ask(start=-60).legend)


def test_hosts_themselves(xenapi, ask):
    assert not any(":host:" in entry for entry in ask(start=-60).legend)
    answer = ask(start=-60, host="true")
    uuid = xenapi.host.get_uuid(xenapi.host.get_by_name_label(ask.home)[0])
    names = {entry.removeprefix(f"AVERAGE:host:{uuid}:") for entry in answer.legend if ":host:" in entry}
    assert names >= {"cpu0", "cpu7", "cpu_avg", "memory_total_kib", "memory_free_kib", "pif_eth0_rx", "pif_eth0_tx"}
    total = {value for _time, value in answer.column(":memory_total_kib")}
    assert total == {16384.0 * 1024}


def test_other_functions_are_not_recorded(ask):
    assert ask(start=-60, cf="MAX").columns == 0
