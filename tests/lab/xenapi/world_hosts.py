# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The pool and its hosts as a test finds them, each with its control domain."""

from __future__ import annotations

import uuid
from datetime import datetime, timezone

from lab.xenapi import operations, placement
from lab.xenapi.database import Database, Ref
from lab.xenapi.settings import MIB, PoolSettings
from lab.xenapi.vm_boot import BOOTLOADERS
from lab.xenapi.vm_records import now

POOL_NAME = "lab-pool"
_CPU_MODEL = "Lab Xeon Processor (Simulated)"
_CPU_FLAGS = "fpu de tsc msr pae mce cx8 apic sep mca cmov pat clflush acpi mmx fxsr sse sse2 ht syscall nx lm vmx"
_CPU_FEATURES = "1fcbfbff-80b82221-2993fbff-00000403-00000000-00000000-00000000-00000000-00001000-0c000000"
_MHZ = 2600
_VERSION = "8.2.1"


def build_hosts(db: Database, settings: PoolSettings) -> list[Ref]:
    """The hosts xen1, xen2, ... of the pool, the master first."""
    hosts = [_make_host(db, settings, number) for number in range(1, settings.hosts + 1)]
    cpus = {name: str(int(value) * len(hosts)) for name, value in _cpu_counts(settings).items()}
    db.create(
        "pool",
        name_label=POOL_NAME,
        name_description="Hosts that are simulated for tests",
        master=hosts[0],
        cpu_info={"vendor": "GenuineIntel", "features": _CPU_FEATURES, **cpus},
        restrictions={
            "restrict_memory_control": "false",
            "restrict_pool_size": "false",
            "restrict_vif_locking": "false",
        },
        other_config={"cpuid_feature_mask": "ffffff7f-ffffffff-ffffffff-ffffffff"},
        allowed_operations=["designate_new_master"],
    )
    for host in hosts:
        placement.rebalance(db, host)
    return hosts


def _make_host(db: Database, settings: PoolSettings, number: int) -> Ref:
    name, host_uuid = f"xen{number}", str(uuid.uuid4())
    metrics = db.create("host_metrics", memory_total=settings.host_memory_mb * MIB, live=True, last_updated=now())
    host = db.create(
        "host",
        uuid=host_uuid,
        name_label=name,
        name_description="Default install",
        hostname=name,
        address=f"10.88.1.{number}",
        enabled=True,
        metrics=metrics,
        memory_overhead=settings.host_overhead_mb * MIB,
        API_version_major=2,
        API_version_minor=16,
        API_version_vendor="anyvirt lab",
        software_version=_software_version(),
        capabilities=["xen-3.0-x86_64", "hvm-3.0-x86_32", "hvm-3.0-x86_64"],
        cpu_configuration={},
        cpu_info=_cpu_info(settings),
        sched_policy="credit",
        supported_bootloaders=list(BOOTLOADERS),
        allowed_operations=["vm_migrate", "evacuate", "provision", "vm_resume", "vm_start"],
        virtual_hardware_platform_versions=[0, 1, 2],
        bios_strings={"bios-vendor": "Lab", "system-manufacturer": "Lab", "system-product-name": "Simulated host"},
        other_config={"agent_start_time": f"{datetime.now(timezone.utc).timestamp():.0f}.", "boot_time": "0."},
        edition="free",
        editions=["free"],
        license_params={"sku_type": "free", "expiry": "20990101T00:00:00Z"},
        iscsi_iqn=f"iqn.2026-01.lab.example:{name}",
        ssl_legacy=False,
    )
    _make_cpus(db, settings, host)
    _make_control_domain(db, settings, host, name)
    return host


def _software_version() -> dict[str, str]:
    return {
        "product_version": _VERSION,
        "product_version_text": "8.2",
        "product_brand": "XCP-ng",
        "platform_name": "XCP",
        "platform_version": "3.2.1",
        "xapi": "24.14",
        "xapi_build": "24.14.0",
        "xen": "4.13.5",
        "linux": "4.19.0",
        "hostname": "localhost",
        "date": "2026-01-01",
        "build_number": "lab",
        "db_schema": "5.776",
        "network_backend": "openvswitch",
    }


def _cpu_counts(settings: PoolSettings) -> dict[str, str]:
    return {"cpu_count": str(settings.host_cpus), "socket_count": "1"}


def _cpu_info(settings: PoolSettings) -> dict[str, str]:
    return {
        **_cpu_counts(settings),
        "threads_per_core": "1",
        "vendor": "GenuineIntel",
        "speed": f"{_MHZ}.000",
        "modelname": _CPU_MODEL,
        "family": "6",
        "model": "85",
        "stepping": "7",
        "flags": _CPU_FLAGS,
        "features": _CPU_FEATURES,
        "features_pv": _CPU_FEATURES,
        "features_hvm": _CPU_FEATURES,
        "features_hvm_host": _CPU_FEATURES,
        "features_pv_host": _CPU_FEATURES,
    }


def _make_cpus(db: Database, settings: PoolSettings, host: Ref) -> None:
    for number in range(settings.host_cpus):
        db.create(
            "host_cpu",
            host=host,
            number=number,
            vendor="GenuineIntel",
            speed=_MHZ,
            modelname=_CPU_MODEL,
            family=6,
            model=85,
            stepping="7",
            flags=_CPU_FLAGS,
            features=_CPU_FEATURES,
            utilisation=0.05,
        )


def _make_control_domain(db: Database, settings: PoolSettings, host: Ref, name: str) -> None:
    memory = settings.dom0_memory_mb * MIB
    vcpus = min(settings.host_cpus, 4)
    metrics = db.create(
        "VM_metrics",
        memory_actual=memory,
        VCPUs_number=vcpus,
        state=["running"],
        start_time=now(),
        last_updated=now(),
        current_domain_type="pv",
    )
    vm = db.create(
        "VM",
        name_label=f"Control domain on host: {name}",
        name_description="The domain which manages physical devices and manages other domains",
        power_state="Running",
        is_control_domain=True,
        domid=0,
        resident_on=host,
        affinity=host,
        metrics=metrics,
        memory_static_min=memory,
        memory_dynamic_min=memory,
        memory_dynamic_max=memory,
        memory_static_max=memory,
        memory_target=memory,
        VCPUs_max=vcpus,
        VCPUs_at_startup=vcpus,
        domain_type="pv",
        actions_after_crash="destroy",
    )
    db.set("host", host, control_domain=vm)
    operations.refresh(db, vm)
