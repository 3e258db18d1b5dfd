# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every message that a class lists, called once with arguments of the right types: none may break the server."""

from __future__ import annotations

import logging

import pytest
import XenAPI

from lab.xenapi.datamodel import NULL, model
from lab.xenapi.dispatch import methods

# They end the session that the test works with.
_ENDS_THE_SESSION = ("session.logout", "session.local_logout", "session.change_password")
_LISTING = sorted(name for name, cls in model().classes.items() if cls.messages)


def _argument(db, of):
    """A value for the wire; references are to an object that there is."""
    if of.kind == "ref":
        return next(iter(db.refs(of.name)), NULL)
    if of.kind == "record":
        return {}
    if of.kind == "set":
        return [_argument(db, of.inner)]
    if of.kind == "map":
        return {_argument(db, of.map_key): _argument(db, of.inner)}
    plain = {"string": "sample", "int": "1", "float": 0.01, "bool": False}
    if of.kind == "datetime":
        return XenAPI.xmlrpclib.DateTime("20260102T03:04:05Z")
    return model().enums[of.name][0] if of.kind == "enum" else plain[of.kind]


@pytest.mark.parametrize("name", _LISTING)
def test_each_listed_message_answers(xenapi_server, xenapi, caplog, name):
    for message in model().classes[name].messages.values():
        if message.full_name in _ENDS_THE_SESSION or not message.needs_session:
            continue
        arguments = [_argument(xenapi_server.db, param.type) for param in message.params]
        call = getattr(getattr(xenapi, name), message.name)
        try:
            call(*arguments)
        except XenAPI.Failure as failure:
            code, *params = failure.details
            assert code not in ("MESSAGE_METHOD_UNKNOWN", "MESSAGE_PARAMETER_COUNT_MISMATCH"), params
            if code == "NOT_IMPLEMENTED":
                assert params == [message.full_name]
    mistakes = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    assert mistakes == []


@pytest.mark.parametrize(
    "names",
    [
        "VM.start VM.start_on VM.clean_shutdown VM.hard_shutdown VM.clean_reboot VM.hard_reboot",
        "VM.pause VM.unpause VM.suspend VM.resume VM.resume_on VM.pool_migrate",
        "VM.create VM.destroy VM.clone VM.copy VM.provision VM.snapshot VM.checkpoint VM.revert",
        "VM.set_memory_limits VM.set_memory_dynamic_range VM.set_VCPUs_max VM.set_VCPUs_number_live",
        "VM.get_allowed_VBD_devices VM.get_allowed_VIF_devices VM.query_data_source",
        "VBD.create VBD.destroy VBD.plug VBD.unplug VBD.insert VBD.eject VIF.create VIF.destroy VIF.plug VIF.unplug",
        "VDI.create VDI.destroy VDI.resize VDI.snapshot VDI.clone VDI.copy SR.create SR.destroy SR.forget SR.scan",
        "PBD.plug PBD.unplug network.create network.destroy",
        "host.enable host.disable host.compute_free_memory",
    ],
)
def test_what_a_driver_needs_is_modelled(names):
    missing = {name for name in names.split() if not methods()[name].handler.__module__.startswith("lab.xenapi.behav")}
    assert missing == set()
