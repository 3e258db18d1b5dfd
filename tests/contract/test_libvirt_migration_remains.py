# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What migrations must not leave behind on real libvirt hosts: data that nothing copies, passphrases, groups."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace

import libvirt
import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.model.instance import Disk
from ansible_collections.anyvirt.compute.plugins.module_utils.model.migration import COLD, LIVE, MigrationWishes
from ansible_collections.anyvirt.compute.plugins.module_utils.model.secgroup import DEFAULT_EGRESS, SecurityGroup
from ansible_collections.anyvirt.compute.plugins.module_utils.model.storage import DIR, Encryption, Pool
from ansible_collections.anyvirt.compute.plugins.module_utils.undo import UndoStack
from contract.driver_moves import NAME, Two, two_hosts
from contract.helpers import state_of
from contract.migration_helpers import overseer
from contract.moving import migrate
from contract.platforms.libvirt_qemu import HostedPlatform
from contract.secgroup_helpers import own_nic
from contract.storage_helpers import created

pytestmark = pytest.mark.on("libvirt")

NETWORK_DISK = """<disk type='network' device='disk'><driver name='qemu' type='raw'/>
<source protocol='rbd' name='pool/image'><host name='ceph1'/></source><target dev='vdz' bus='virtio'/></disk>"""


@pytest.fixture
def two(platform: HostedPlatform) -> Two:
    return two_hosts(platform)


@pytest.fixture
def common(two: Two) -> Iterator[str]:
    """A pool that is one folder on both hosts."""
    folder = two.here.lab.shared / f"{two.here.lab.name}-remains"
    folder.mkdir(exist_ok=True)
    for driver in (two.source, two.destination):
        driver.create_pool(Pool("common", kind=DIR, path=str(folder)))
        driver.start_pool("common")
    yield "common"
    for platform in (two.here, two.there):
        with platform.connection() as connection:
            pool = connection.storagePoolLookupByName("common")
            pool.destroy()
            pool.undefine()
    shutil.rmtree(folder)


def test_disks_in_a_network_are_not_copied_and_the_plan_says_so(two: Two):
    two.here.spawned(two.source, NAME, disks=[])
    with two.here.connection() as connection:
        text = connection.lookupByName(NAME).XMLDesc()
        connection.defineXML(text.replace("</devices>", f"{NETWORK_DISK}</devices>"))
    (problem,) = two.planned(MigrationWishes(mode=COLD, storage="copy")).problems
    assert problem.startswith("storage: copy: its disk vdz is 'pool/image' in a network")
    plan = two.planned()
    assert plan.problems == []
    assert [move.how for move in plan.disks] == ["shared"]


def test_an_image_whose_data_is_in_another_file_is_not_copied_by_halves(two: Two):
    volume = created(two.here, two.source, "by-halves")
    assert volume.path is not None
    image = ("-f", "qcow2", "-o", f"data_file={volume.path}.raw,data_file_raw=on", volume.path, "8M")
    two.here.run_on_host("qemu-img", "create", "-q", *image)
    two.here.spawned(two.source, NAME, disks=[Disk(volume=volume.name, pool=volume.pool)])
    (problem,) = two.planned().problems
    assert "vda" in problem
    assert "data_file" in problem


def test_the_passphrase_of_a_shared_disk_goes_when_it_is_given_up(two: Two, common: str):
    secret = Encryption(passphrase="open sesame")
    volume = created(two.here, two.source, "locked", format="raw", encryption=secret, pool=common)
    path = volume.path or ""
    two.source.remove_secret(path)
    with UndoStack() as done:  # one that libvirt tells
        two.source.keep_secret("the volume", path, secret.passphrase, done)
    two.here.spawned(two.source, NAME, disks=[Disk(volume=volume.name, pool=volume.pool)])
    plan = two.planned()
    assert plan.problems == []
    assert [move.how for move in plan.disks] == ["shared"]
    two.source.begin_migration(plan)
    two.destination.accept_instance(two.source, plan)
    assert two.destination.knows_passphrase(path)
    two.destination.discard_migration(NAME)
    assert not two.destination.knows_passphrase(path)
    assert two.source.knows_passphrase(path)
    two.source.discard_migration(NAME)
    two.move(two.planned())
    assert two.destination.knows_passphrase(path)
    two.destination.destroy(NAME)


def test_volumes_go_also_where_another_task_has_defined_the_instance_anew(two: Two):
    volume = created(two.here, two.source, "own-disk")
    two.here.spawned(two.source, NAME, disks=[Disk(volume=volume.name, pool=volume.pool)])
    plan = two.planned()
    back = two.source.begin_migration(plan)
    undo = two.destination.accept_instance(two.source, plan)
    moving = two.destination.fresh_document(NAME).record.moving
    assert moving is not None
    assert volume.name in two.there.volumes()
    two.destination.keep_moving_record(NAME, replace(moving, migration=replace(moving.migration, id="another-one")))
    undo()
    assert two.there.volumes() == set()
    assert two.destination.list_instances() == [NAME], "it is the other task's"
    back()
    two.destination.discard_migration(NAME)


def test_groups_that_were_taken_over_go_also_when_the_first_attempt_was_killed(
    two: Two, monkeypatch: pytest.MonkeyPatch
):
    two.source.define_security_group(SecurityGroup("lonely", DEFAULT_EGRESS))
    two.here.spawned(two.source, NAME, disks=[], nics=[own_nic(two.here, 1)], security_groups=["lonely"])
    plan = two.planned()
    two.source.begin_migration(plan)
    two.destination.accept_instance(two.source, plan)
    assert "lonely" in two.destination.get_security_groups()

    def die(_groups: object) -> list[str]:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(two.destination, "return_groups", die)
        with pytest.raises(KeyboardInterrupt):
            two.destination.discard_migration(NAME)
    assert "security group lonely" in two.destination.discard_migration(NAME)
    assert "lonely" not in two.destination.get_security_groups()
    assert two.destination.list_instances() == []
    two.source.discard_migration(NAME)
    two.source.destroy(NAME)
    two.source.delete_security_group("lonely")


def test_a_definition_that_is_to_go_goes_also_when_the_first_attempt_was_killed(
    two: Two, monkeypatch: pytest.MonkeyPatch
):
    driver = two.source
    driver.spawn(driver.complete(two.here.small(NAME, disks=[], nics=[two.here.nic()])), power_on=True)
    plan = two.planned(MigrationWishes(mode=LIVE, persist=False))
    two.source.begin_migration(plan)
    two.destination.accept_instance(two.source, plan)
    two.source.migrate_instance(two.destination, plan, overseer(plan))

    def die(_domain: libvirt.virDomain, _flags: int) -> int:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(libvirt.virDomain, "undefineFlags", die)
        with pytest.raises(KeyboardInterrupt):
            two.destination.finish_destination(NAME)
    move = migrate(two.here, two.there, name=NAME, persist=False)
    assert move.kind is None, move.result
    assert two.source.list_instances() == []
    arrived = two.destination.get_instances([NAME])[NAME]
    assert (arrived.persistent, arrived.migration) == (False, None)
    assert state_of(two.destination, NAME) == "running"
    assert two.destination.get_migrations() == {}
    assert not migrate(two.here, two.there, name=NAME, persist=False).changed
