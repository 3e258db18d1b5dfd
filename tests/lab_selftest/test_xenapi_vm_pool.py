# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The pool as a test finds it: hosts, control domains, templates; and what a client asks hosts and the pool."""

from __future__ import annotations

import threading
from datetime import datetime, timezone

import pytest
import XenAPI

from lab.xenapi.server import XenApiServer
from lab.xenapi.settings import GIB, MIB, PoolSettings
from lab.xenapi_objects import NULL, fails, make_vm, start
from lab.xenapi_states import host_named, memory_free


def _login(server):
    session = XenAPI.Session(server.url, ignore_ssl=True)
    session.login_with_password(server.username, server.password)
    return session.xenapi


def test_the_pool(xenapi):
    [pool] = xenapi.pool.get_all_records().values()
    assert pool["name_label"] == "lab-pool"
    assert xenapi.host.get_name_label(pool["master"]) == "xen1"
    assert xenapi.SR.get_name_label(pool["default_SR"]) == "shared"
    assert pool["suspend_image_SR"] == pool["default_SR"]
    assert xenapi.pool.get_license_state(xenapi.pool.get_all()[0])["expiry"] == "never"


def test_the_hosts(xenapi):
    hosts = {record["name_label"]: record for record in xenapi.host.get_all_records().values()}
    assert sorted(hosts) == ["xen1", "xen2"]
    for host in hosts.values():
        assert host["enabled"] is True
        assert host["software_version"]["product_version"] == "8.2.1"
        assert {"vendor", "modelname", "features", "flags", "cpu_count", "socket_count"} <= set(host["cpu_info"])
        assert len(host["host_CPUs"]) == int(host["cpu_info"]["cpu_count"]) == 8
        assert xenapi.host_metrics.get_memory_total(host["metrics"]) == str(16 * GIB)
        assert len(host["PIFs"]) == 1
        assert host["PBDs"]
        dom0 = xenapi.VM.get_record(host["control_domain"])
        assert dom0["name_label"] == f"Control domain on host: {host['name_label']}"
        assert (dom0["is_control_domain"], dom0["power_state"], dom0["domid"]) == (True, "Running", "0")
        assert host["resident_VMs"] == [host["control_domain"]]


def test_memory_of_an_empty_host(xenapi):
    settings = PoolSettings()
    taken = settings.dom0_memory_mb + settings.host_overhead_mb
    host = host_named(xenapi, "xen1")
    overhead = int(xenapi.VM.get_memory_overhead(xenapi.host.get_control_domain(host)))
    assert memory_free(xenapi, host) == (settings.host_memory_mb - taken) * MIB - overhead
    assert xenapi.host.compute_memory_overhead(host) == str(settings.host_overhead_mb * MIB)


def test_the_templates(xenapi):
    templates = {
        record["name_label"]: record for record in xenapi.VM.get_all_records().values() if record["is_a_template"]
    }
    assert sorted(templates) == ["Debian Bookworm 12", "Other install media", "golden"]
    for name in ("Debian Bookworm 12", "Other install media"):
        assert templates[name]["is_default_template"]
        assert templates[name]["other_config"]["default_template"] == "true"
        assert "<provision>" in templates[name]["other_config"]["disks"]
        assert templates[name]["recommendations"].startswith("<restrictions>")
        assert templates[name]["VBDs"] == []
    vbds = [xenapi.VBD.get_record(vbd) for vbd in templates["golden"]["VBDs"]]
    assert [(vbd["type"], vbd["userdevice"], vbd["empty"]) for vbd in vbds] == [("Disk", "0", False), ("CD", "3", True)]
    assert xenapi.VDI.get_virtual_size(vbds[0]["VDI"]) == str(8 * MIB)


def test_a_vm_of_a_template_runs(xenapi):
    template = xenapi.VM.get_by_name_label("golden")[0]
    vm = xenapi.VM.clone(template, "vm1")
    assert xenapi.VM.get_is_a_template(vm)
    xenapi.VM.provision(vm)
    start(xenapi, vm)
    xenapi.VM.clean_shutdown(vm)


@pytest.mark.parametrize("number", [1, 3])
def test_pools_of_other_sizes(number):
    with XenApiServer(PoolSettings(hosts=number, host_cpus=2, host_memory_mb=2048, extra_vms=5)) as server:
        xenapi = _login(server)
        assert len(xenapi.host.get_all()) == number
        filling = [
            record for record in xenapi.VM.get_all_records().values() if record["name_label"].startswith("bench")
        ]
        assert len(filling) == 5
        assert all(len(record["VBDs"]) == len(record["VIFs"]) == 1 for record in filling)
        [vm] = xenapi.VM.get_by_name_label("bench0004")
        start(xenapi, vm)
        assert len(server.slave_urls) == number - 1


def test_consoles_of_a_pool_with_tls():
    with XenApiServer(tls=True) as server:
        xenapi = _login(server)
        vm = make_vm(xenapi)
        start(xenapi, vm)
        location = xenapi.console.get_location(xenapi.VM.get_consoles(vm)[0])
        assert location.startswith(("https://127.0.0.1:", server.url))


def test_nothing_goes_on_after_the_end():
    before = set(threading.enumerate())
    with XenApiServer(PoolSettings(boot_s=30)) as server:
        xenapi = _login(server)
        xenapi.VM.start(make_vm(xenapi), False, False)
        xenapi.Async.VM.clean_shutdown(xenapi.VM.get_by_name_label("vm1")[0])
    for thread in set(threading.enumerate()) - before:
        thread.join(5)
        assert not thread.is_alive(), thread.name


def test_what_hosts_tell(xenapi):
    host = host_named(xenapi, "xen1")
    told = datetime.strptime(str(xenapi.host.get_servertime(host)), "%Y%m%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)
    assert abs((datetime.now(timezone.utc) - told).total_seconds()) < 5
    assert xenapi.PIF.get_host(xenapi.host.get_management_interface(host)) == host
    assert "VM.start" in xenapi.host.list_methods()
    sources = {source["name_label"]: source for source in xenapi.host.get_data_sources(host)}
    assert {source["units"] for source in sources.values()} == {"(fraction)", "KiB", "B/s"}
    free = xenapi.host.query_data_source(host, "memory_free_kib")
    assert free == memory_free(xenapi, host) // 1024 == sources["memory_free_kib"]["value"]
    assert fails(xenapi.host.set_hostname_live, host, "no name")[0] == "HOST_NAME_INVALID"
    xenapi.host.set_hostname_live(host, "other")
    assert xenapi.host.get_hostname(host) == "other"


def test_what_only_a_larger_pool_has(xenapi):
    assert fails(xenapi.pool.disable_ha) == ["HA_NOT_ENABLED"]
    assert fails(xenapi.pool.retrieve_wlb_configuration) == ["WLB_NOT_INITIALIZED"]
    assert fails(xenapi.pool.designate_new_master, xenapi.host.get_all()[1])[0] == "NOT_IMPLEMENTED"


def test_the_guest_agents_settings(xenapi):
    [pool] = xenapi.pool.get_all()
    xenapi.pool.add_to_guest_agent_config(pool, "auto_update_enabled", "false")
    assert fails(xenapi.pool.add_to_guest_agent_config, pool, "auto_update_enabled", "true")[0] == "MAP_DUPLICATE_KEY"
    xenapi.pool.remove_from_guest_agent_config(pool, "auto_update_enabled")
    assert xenapi.pool.get_guest_agent_config(pool) == {}


def test_making_a_vm(xenapi):
    vm = make_vm(xenapi)
    record = xenapi.VM.get_record(vm)
    assert (record["power_state"], record["domid"], record["resident_on"]) == ("Halted", "-1", NULL)
    assert record["other_config"]["mac_seed"]
    assert record["snapshots"] == record["VBDs"] == record["consoles"] == []
    assert xenapi.VM_metrics.get_state(record["metrics"]) == []
    assert fails(make_vm_in_state, xenapi, "Running") == ["INVALID_VALUE", "power_state", "Running"]
    seeded = make_vm(xenapi, "seeded", other_config={"mac_seed": "mine", "key": "value"})
    assert xenapi.VM.get_other_config(seeded) == {"mac_seed": "mine", "key": "value"}


def make_vm_in_state(xenapi, state):
    return make_vm(xenapi, power_state=state)
