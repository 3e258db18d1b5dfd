# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Errors of storage: in words, by kind, in bounded time; and what a driver cannot do is refused with what to do."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from ansible_collections.anyvirt.compute.plugins.module_utils.driver.capabilities import STORAGE_FEATURES, support
from ansible_collections.anyvirt.compute.plugins.module_utils.driver.storage import StorageDriver
from ansible_collections.anyvirt.compute.plugins.module_utils.errors import (
    AnyvirtError,
    HypervisorUnavailable,
    Unsupported,
)
from ansible_collections.anyvirt.compute.plugins.module_utils.model.instance import Disk
from ansible_collections.anyvirt.compute.plugins.module_utils.model.storage import (
    Encryption,
    Image,
    Pool,
    Volume,
    VolumeKey,
    VolumeSource,
)
from contract.contents import Watched, dense, sparse
from contract.helpers import where_supported
from contract.platforms.base import Platform
from contract.storage_helpers import SIZE, SOMEWHERE, created, read, wanted

pytestmark = pytest.mark.on("fake", "libvirt", "xenapi")

NOWHERE = VolumeKey("nowhere", "ghost")


def _open(storage: StorageDriver) -> None:
    with storage.open_volume(NOWHERE):
        pass


METHODS: dict[str, tuple[str, Callable[[StorageDriver], object]]] = {
    "default_pool": ("pools", lambda storage: storage.default_pool()),
    "get_pools": ("pools", lambda storage: storage.get_pools()),
    "check_pool": ("pools", lambda storage: storage.check_pool(Pool("p"))),
    "create_pool": ("pools", lambda storage: storage.create_pool(Pool("p"))),
    "start_pool": ("pools", lambda storage: storage.start_pool("nowhere")),
    "stop_pool": ("pools", lambda storage: storage.stop_pool("nowhere")),
    "delete_pool": ("pools", lambda storage: storage.delete_pool("nowhere")),
    "set_pool_autostart": ("pools", lambda storage: storage.set_pool_autostart("nowhere", True)),
    "refresh_pool": ("pools", lambda storage: storage.refresh_pool("nowhere")),
    "get_volumes": ("volumes", lambda storage: storage.get_volumes([NOWHERE])),
    "list_volumes": ("volumes", lambda storage: storage.list_volumes("nowhere")),
    "volume_uses": ("volumes", lambda storage: storage.volume_uses([NOWHERE])),
    "check_volume": ("volumes", lambda storage: storage.check_volume(Volume("v", "nowhere"))),
    "complete_volume": ("volumes", lambda storage: storage.complete_volume(Volume("v", "nowhere"))),
    "create_volume": ("volumes", lambda storage: storage.create_volume(Volume("v", "nowhere", SIZE, "raw"))),
    "resize_volume": ("volumes", lambda storage: storage.resize_volume(NOWHERE, SIZE)),
    "delete_volume": ("volumes", lambda storage: storage.delete_volume(NOWHERE)),
    "set_volume_metadata": ("volume_metadata", lambda storage: storage.set_volume_metadata(NOWHERE, {})),
    "open_volume": ("volume_transfer", _open),
    "create_volume_snapshot": ("volume_snapshots", lambda storage: storage.create_volume_snapshot(NOWHERE, "s")),
    "delete_volume_snapshot": ("volume_snapshots", lambda storage: storage.delete_volume_snapshot(NOWHERE, "s")),
    "revert_volume": ("volume_snapshots", lambda storage: storage.revert_volume(NOWHERE, "s")),
    "complete_attachment": ("attach", lambda storage: storage.complete_attachment("ghost", Disk(volume="v"))),
    "check_attachment": ("attach", lambda storage: storage.check_attachment(Disk(volume="v"))),
    "verify_hotplug": ("attach_live", lambda storage: storage.verify_hotplug("ghost", Disk(volume="v"))),
    "attach_volume": ("attach", lambda storage: storage.attach_volume("ghost", Disk(device="vdb", volume="v"))),
    "detach_volume": ("attach", lambda storage: storage.detach_volume("ghost", "vdb", 1)),
    "update_attachment": ("attach", lambda storage: storage.update_attachment("ghost", Disk(device="vdb"), ["limits"])),
    "change_media": ("cdrom_media", lambda storage: storage.change_media("ghost", "sda", None)),
    "get_images": ("images", lambda storage: storage.get_images()),
    "check_image": ("images", lambda storage: storage.check_image("nowhere", sparse().facts)),
    "reserve_image": ("images", lambda storage: storage.reserve_image(Image("i", "nowhere", claim="me"))),
    "beat_image": ("images", lambda storage: storage.beat_image(Image("i", "nowhere", claim="me"))),
    "write_image": ("images", lambda storage: storage.write_image(Image("i", "nowhere", claim="me"), sparse())),
    "finish_image": ("images", lambda storage: storage.finish_image(Image("i", "nowhere", claim="me"))),
    "delete_image": ("images", lambda storage: storage.delete_image(NOWHERE)),
}


@pytest.mark.on("fake", "libvirt", "lxc", "xen", "xenapi")
def test_every_method_works_or_says_what_to_use_instead(storage: StorageDriver, platform: Platform):
    """A feature that is declared has all its methods; the others are refused alike."""
    for method, (feature, call) in METHODS.items():
        try:
            call(storage)
        except Unsupported as error:
            assert not storage.supports(feature), (method, str(error))
            assert storage.name in str(error), method
            assert support(storage.capabilities, feature).note in str(error), method
        except AnyvirtError as error:
            assert storage.supports(feature), (method, str(error))
            assert str(error), method
        else:
            assert storage.supports(feature), method


def test_all_methods_are_asked():
    own = {name for name, value in vars(StorageDriver).items() if callable(value) and not name.startswith("_")}
    assert own == METHODS.keys()
    assert {feature for feature, _call in METHODS.values()} <= set(STORAGE_FEATURES)


def test_what_does_not_work_says_what_to_use_instead(storage: StorageDriver):
    for feature in STORAGE_FEATURES:
        found = support(storage.capabilities, feature)
        assert found.works or found.note, feature


def test_options_that_need_a_feature(platform: Platform):
    """They are refused by their names where there is no such feature, before anything is asked."""
    closed = platform.closed_storage_driver()
    if not closed.supports("volumes"):
        return
    needing: dict[str, tuple[str, Volume]] = {
        "volume_encryption": ("encryption", wanted(platform, "v", encryption=Encryption(passphrase="s3cret-words"))),
        "volume_metadata": ("metadata", wanted(platform, "v", metadata={"a": "b"})),
        "volume_copy_on_write": ("source.copy_on_write", _child(platform)),
    }
    for feature, (option, volume) in needing.items():
        problems = closed.check_volume(volume)
        if closed.supports(feature):
            assert problems == [], feature
        else:
            assert [problem.option.startswith(option) for problem in problems] == [True], feature
            assert "s3cret-words" not in str(problems)


def _child(platform: Platform) -> Volume:
    source = VolumeSource(volume="parent", copy_on_write=True)
    return Volume("v", platform.pool, source=source)


# -- the connection is lost -------------------------------------------------------------------------------------------


@pytest.mark.on("libvirt", "xenapi")
def test_nobody_answers_any_more(platform: Platform):
    storage = platform.storage_driver()
    with where_supported(storage, "volumes"):
        volume = created(platform, storage, "kept")
        platform.kill_service()
        try:
            for call in (
                storage.get_pools,
                lambda: storage.get_volumes([volume.key]),
                lambda: storage.create_volume(wanted(platform, "more", format=volume.format)),
                lambda: storage.delete_volume(volume.key),
            ):
                started = time.monotonic()
                with pytest.raises(HypervisorUnavailable):
                    call()
                assert time.monotonic() - started < 10
            storage.close()
        finally:
            platform.restart_service()
        assert read(platform.storage_driver(), volume.key).size_bytes == SIZE


@pytest.mark.on("libvirt", "xenapi")
@pytest.mark.slow
def test_the_connection_is_lost_in_the_middle_of_an_upload(platform: Platform):
    """A clear error in bounded time; what is left is unfinished, and made anew by the next run."""
    storage = platform.storage_driver()
    with where_supported(storage, "volume_transfer"):
        content = Watched(sparse(32 * SIZE), platform.kill_service)
        volume = storage.complete_volume(wanted(platform, "cut", size_bytes=None, source=SOMEWHERE), content.facts)
        started = time.monotonic()
        try:
            with pytest.raises(HypervisorUnavailable):
                storage.create_volume(volume, content)
            storage.close()
        finally:
            platform.restart_service()
        assert time.monotonic() - started < 60
        fresh = platform.storage_driver()
        found = fresh.get_volumes([volume.key])
        assert all(volume.unfinished for volume in found.values())
        fresh.create_volume(volume, content.content)
        assert not read(fresh, volume.key).unfinished
        fresh.delete_volume(volume.key)


@pytest.mark.on("libvirt", "xenapi")
@pytest.mark.slow
def test_the_hypervisor_freezes_in_the_middle_of_an_upload(platform: Platform):
    storage = platform.storage_driver(call_timeout_s=2.0)
    with where_supported(storage, "volume_transfer"):
        content = Watched(dense(96 * SIZE), platform.freeze_service)
        volume = storage.complete_volume(wanted(platform, "cut", size_bytes=None, source=SOMEWHERE), content.facts)
        thaw = threading.Timer(45, platform.thaw_service)
        thaw.start()
        started = time.monotonic()
        try:
            with pytest.raises(HypervisorUnavailable):
                storage.create_volume(volume, content)
            storage.close()
            assert time.monotonic() - started < 40
        finally:
            thaw.cancel()
            platform.thaw_service()
        fresh = platform.storage_driver()
        assert all(volume.unfinished for volume in fresh.get_volumes([volume.key]).values())
        fresh.delete_volume(volume.key)


def test_no_secrets_in_messages(storage: StorageDriver, platform: Platform):
    """What fails with an encrypted volume does not tell its passphrase."""
    with where_supported(storage, "volumes", "volume_encryption"):
        storage.require("volume_encryption")
        volume = storage.complete_volume(wanted(platform, "private", encryption=Encryption(passphrase="s3cret-words")))
        told = []
        for number in range(1, 6):  # its first calls, since encrypting takes its time
            try:
                with platform.calls.recording(fail_at=number):
                    storage.create_volume(volume)
            except AnyvirtError as error:
                told.append(f"{error} {error.undone} {error.not_undone} {error.__cause__!r}")
            else:
                break
        assert told
        assert "s3cret-words" not in repr(told)
