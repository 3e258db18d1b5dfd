# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The connection to a pool: opened, guarded and closed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, suppress
from typing import Any, ClassVar

from ...errors import PermissionDenied, TimeoutExpired
from ..base import ComputeDriver
from ..uri import ConnectionOptions
from .api import Api, user_of
from .errors import translated
from .tasks import Task, Tasks
from .transport import Body, HttpRefused, TransportError

UNKNOWN_FORMAT = 404
"""The status with which a server answers that does not know an image format."""
UPLOAD, DOWNLOAD = "Upload of a virtual disk", "Download of a virtual disk"
_REASON_S = 3.0
"""How long a server is given to say what was wrong with a request that broke."""


class ConnectionMixin(ComputeDriver):
    """What all parts of the XenAPI driver stand on.

    Attributes:
        labels: reference -> name, filled by whoever reads records, so that messages can name what the server gives by
            reference.
    """

    name: ClassVar[str] = "xenapi"

    def __init__(self, options: ConnectionOptions) -> None:
        super().__init__(options)
        self.labels: dict[str, str] = {}
        self._api: Api | None = None
        self._tasks: Tasks | None = None

    @property
    def api(self) -> Api:
        """The open connection."""
        if self._api is None:
            raise RuntimeError("the driver is not open")
        return self._api

    @property
    def tasks(self) -> Tasks:
        """What runs on the server for us."""
        if self._tasks is None:
            raise RuntimeError("the driver is not open")
        return self._tasks

    def open(self) -> None:
        if self._api is not None:
            return
        if not (user_of(self.options) and self.options.password):
            raise PermissionDenied(
                "XenServer and XCP-ng ask who is there: give the options username and password, or set the environment "
                "variables ANYVIRT_USERNAME and ANYVIRT_PASSWORD where the module runs"
            )
        api = Api(self.options)
        with self.guard(f"log in at {api.address.uri}"):
            api.open()
        self._api, self._tasks = api, Tasks(api, self.options.call_timeout_s)

    def close(self) -> None:
        tasks, self._tasks = self._tasks, None
        api, self._api = self._api, None
        if tasks is not None:
            tasks.close()
        if api is not None:
            api.close()

    def guard(self, what: str, name: str | None = None) -> AbstractContextManager[None]:
        """Within the block the failures of calls, tasks and HTTP requests become ours, saying that it cannot do
        ``what``.

        Args:
            what: What is tried, to be read after "cannot".
            name: The instance that it is tried on; where its VM turns out to be gone the error is InstanceNotFound.
        """
        return translated(what, name, self.labels)

    def call(self, method: str, *params: Any) -> Any:
        """Make a call and wait for its answer; to be used within ``guard``. Reads, and writes that take no time.

        Whole numbers are texts, as parameters and as results.
        """
        return self.api.call(method, *params)

    def run_task(self, method: str, *params: Any, timeout_s: float | None = None) -> str | None:
        """Carry out ``Async.<method>`` and wait for its end; to be used within ``guard``. Writes that may take time.

        Args:
            timeout_s: Seconds after which it is cancelled; None where it may take as long as the server is alive.

        Returns:
            The reference that is its result, if it has one.

        Raises:
            TimeoutExpired: it took longer.
        """
        return self.tasks.run(method, *params, timeout_s=timeout_s)

    def start_task(self, method: str, *params: Any) -> Task:
        """Begin ``Async.<method>``; to be used within ``guard``. It must be given to ``wait_task`` or ``cancel_task``
        afterwards."""
        return self.tasks.start(method, *params)

    def wait_task(self, task: Task, timeout_s: float | None = None) -> str | None:
        """Wait for the end of a task; to be used within ``guard``. The server forgets the task, unless the time is up:
        then it runs on, and can be waited for again.

        Raises:
            TimeoutExpired: it runs longer.
        """
        return self.tasks.wait(task, timeout_s)

    def cancel_task(self, task: Task) -> None:
        """End a task and forget it; never raises."""
        self.tasks.cancel(task)

    def http_request(
        self,
        method: str,
        path: str,
        query: dict[str, str],
        body: Body | None = None,
        length: int | None = None,
        address: str | None = None,
    ) -> bytes:
        """An HTTP request beside the calls, see ``Api.http_request``; to be used within ``guard``."""
        return self.api.http_request(method, path, query, body, length, address)

    def upload(self, vdi: str, content: Body, length: int) -> None:
        """Write into a virtual disk, from its start on; to be used within ``guard``.

        The server says that all is well before it has read anything: what came of it is told by a task.

        Args:
            length: How many bytes ``content`` has.
        """
        self._send_disk(vdi, content, length, {})

    def upload_sparse(self, vdi: str, content: Body, address: str | None = None) -> None:
        """Write into a virtual disk, to be used within ``guard``. Nothing is written where ``content``, a body of
        ``sparse.chunks_of``, has nothing.

        Args:
            address: Of the host that is asked; None for the master.
        """
        self._send_disk(vdi, content, None, {"chunked": "true"}, address)

    def _send_disk(
        self, vdi: str, content: Body, length: int | None, how: dict[str, str], address: str | None = None
    ) -> None:
        task = self.tasks.create(UPLOAD)
        query = {"vdi": vdi, "format": "raw", "task_id": task.ref, **how}
        try:
            try:
                self.http_request("PUT", "/import_raw_vdi", query, content, length, address)
            except (TransportError, HttpRefused):
                self._raise_reason(task)
                raise
            self.wait_task(task)
        except BaseException:
            if not task.is_over:
                self.cancel_task(task)
            raise

    def download(self, vdi: str, image_format: str) -> Iterator[bytes]:
        """What is in a virtual disk, as an image of a format that the server makes, piece by piece; to be used within
        ``guard``. What fails on the way is told by a task."""
        task = self.tasks.create(DOWNLOAD)
        query = {"vdi": vdi, "format": image_format, "task_id": task.ref}
        try:
            try:
                yield from self.api.receive("/export_raw_vdi", query)
            except (TransportError, HttpRefused) as error:
                if getattr(error, "status", None) != UNKNOWN_FORMAT:
                    self._raise_reason(task)
                raise
            self.wait_task(task)
        finally:
            if not task.is_over:
                self.cancel_task(task)

    def _raise_reason(self, task: Task) -> None:
        """Raise what a task failed with, if it is there to tell; that says more than a connection that broke."""
        with suppress(TransportError, TimeoutExpired):
            self.wait_task(task, _REASON_S)
