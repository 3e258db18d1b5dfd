# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Between Ansible and the rest: arguments come in, results and errors go out. The only file that imports ansible."""

from __future__ import annotations

import json
import re
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Callable

from ansible.module_utils.basic import AnsibleModule, env_fallback
from ansible.module_utils.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    ElementError,
    NoLogError,
    RequiredError,
    SubParameterTypeError,
    UnsupportedError,
)

from .driver.base import ComputeDriver
from .driver.uri import (
    ENVIRONMENT,
    PASSWORD_ENVIRONMENT,
    USERNAME_ENVIRONMENT,
    ConnectionOptions,
    get_connection,
    password_in,
)
from .errors import AnyvirtError, InvalidInput, InvalidUri, Problem, Unsupported
from .reconcile.failures import error_as_dict, message_of
from .reconcile.interrupts import Interrupts
from .reconcile.task import Task
from .transfer import channel

_WRONG_VALUES = (
    ArgumentTypeError,
    ArgumentValueError,
    ElementError,
    NoLogError,
    RequiredError,
    SubParameterTypeError,
)

MASK = "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER"

Reconcile = Callable[[Task], "dict[str, Any]"]


def connection_argument_spec() -> dict[str, Any]:
    """The options that all modules share; doc_fragments/connection.py describes them."""
    return {
        "uri": {"type": "str", "fallback": (env_fallback, list(ENVIRONMENT))},
        "username": {"type": "str", "fallback": (env_fallback, [USERNAME_ENVIRONMENT])},
        "password": {"type": "str", "no_log": True, "fallback": (env_fallback, [PASSWORD_ENVIRONMENT])},
        "validate_certs": {"type": "bool", "default": True},
        "ca_path": {"type": "path"},
        "connect_timeout": {"type": "float", "default": 10.0},
        "call_timeout": {"type": "float", "default": 60.0},
    }


class AnyvirtModule(AnsibleModule):  # type: ignore[misc]  # AnsibleModule has no type hints
    """An AnsibleModule that keeps secrets by their place instead of by their text.

    Ansible blanks every text of a ``no_log`` option wherever it turns up. Cloud-init data given as a dictionary is made
    of hundreds of short texts, host and user names among them, and half of the result would be blanked. So secret
    options are masked where they stand, in the logged and returned arguments, and nothing else ever holds them; only
    passwords, of the option and of the URI, are also looked for by their text. Options that do not exist are masked as
    well, since a misspelt one may hold anything.
    """

    def __init__(
        self, argument_spec: Mapping[str, Any], check: Callable[[Mapping[str, Any]], object] | None = None, **rules: Any
    ) -> None:
        self._check = check
        super().__init__({**connection_argument_spec(), **argument_spec}, supports_check_mode=True, **rules)
        self._keep_secrets_by_place()

    def given_arguments(self) -> dict[str, Any]:
        """The options that were given, with the secret ones masked."""
        return _given(self.params, self.argument_spec)

    def exit_json(self, **result: Any) -> None:
        result.setdefault("invocation", {"module_args": self.given_arguments()})
        super().exit_json(**result)

    def fail_json(self, msg: str, **result: Any) -> None:
        self._keep_secrets_by_place()
        result.setdefault("invocation", {"module_args": self.given_arguments()})
        if "error" not in result:  # Ansible itself found the arguments wrong
            error = self._invalid_arguments(msg)
            msg, result["error"] = str(error), error_as_dict(error)
        super().fail_json(msg, **result)

    def _keep_secrets_by_place(self) -> None:
        given = {option: str(self.params.get(option) or "") for option in ("uri", "password", "dest", "dest_password")}
        self.no_log_values = {
            secret
            for secret in (
                given["password"],
                given["dest_password"],
                password_in(given["uri"]),
                password_in(given["dest"]),
            )
            if secret
        }

    def _invalid_arguments(self, msg: str) -> InvalidInput:
        """All that is wrong with the arguments; Ansible names the first thing only, and not its place in a list."""
        found = list(self.validation_result.errors)
        by_value = [error for error in found if isinstance(error, _WRONG_VALUES)]
        problems = []
        if by_value and self._check is not None:
            try:
                self._check(self.params)
            except InvalidInput as error:
                problems = error.problems
                found = [error for error in found if error not in by_value]
            except (TypeError, AttributeError):
                pass  # too wrong to be read any further than Ansible did
        others = [Problem("", _words(error)) for error in found]
        return InvalidInput([*others, *problems] or [Problem("", msg)])

    def connection_options(self) -> ConnectionOptions:
        """How to connect.

        Raises:
            InvalidUri: there is no URI.
        """
        params = self.params
        if params["uri"] is None:
            raise InvalidUri(
                "uri: there is none, and no default; give the option uri (once for a whole play with module_defaults: "
                f"group/anyvirt.compute.virt), or set the environment variable {' or '.join(ENVIRONMENT)} "
                "where the module runs"
            )
        return ConnectionOptions(
            uri=params["uri"],
            username=params["username"],
            password=params["password"],
            validate_certs=params["validate_certs"],
            ca_path=params["ca_path"],
            connect_timeout_s=params["connect_timeout"],
            call_timeout_s=params["call_timeout"],
        )

    def destination_options(self) -> ConnectionOptions:
        """How to connect to ``dest``. What is not given is as with the first host, but for a user name in the URI,
        which comes before that host's.

        Raises:
            InvalidUri: there is no such URI.
        """
        params, source = self.params, self.connection_options()
        uri = params["dest"] or ""
        has_user = "@" in uri.partition("://")[2].partition("/")[0]
        username = params["dest_username"] or (None if has_user else source.username)
        certs = params["dest_validate_certs"]
        return replace(
            source,
            uri=uri,
            username=username,
            password=source.password if params["dest_password"] is None else params["dest_password"],
            validate_certs=source.validate_certs if certs is None else certs,
            ca_path=params["dest_ca_path"] or source.ca_path,
        )

    def _log_invocation(self) -> None:
        self._keep_secrets_by_place()
        self.log(f"Invoked with {json.dumps(self.given_arguments(), default=str)}")


def destination_argument_spec() -> dict[str, Any]:
    """The options of modules that reach a second host, by which they do it."""
    return {
        "dest": {"type": "str"},
        "dest_username": {"type": "str"},
        "dest_password": {"type": "str", "no_log": True},
        "dest_validate_certs": {"type": "bool"},
        "dest_ca_path": {"type": "path"},
    }


def _words(error: Exception) -> str:
    text = str(error)
    return f"there is no option {text}" if isinstance(error, UnsupportedError) else text


def run_module(
    argument_spec: Mapping[str, Any],
    reconcile: Reconcile,
    check: Callable[[Mapping[str, Any]], object] | None = None,
    get_driver: Callable[[ConnectionOptions], ComputeDriver] = get_connection,
    interruptible: bool = False,
    **rules: Any,
) -> None:
    """Run a module and end the process.

    Args:
        argument_spec: The module's own options.
        reconcile: Does the work; returns the result. With ``failed`` in it the task fails, with ``msg`` and ``error``.
        check: Raises InvalidInput for wrong options, saying more about them than Ansible does; usually what reads them,
            whose answer does not matter here.
        get_driver: Which kind of driver the module needs.
        interruptible: The module looks now and then whether it is still wanted, and ends its work in good order when it
            is not. Others are ended where they stand.
        rules: More for AnsibleModule, e.g. ``mutually_exclusive``.
    """
    module = AnyvirtModule(argument_spec, check, **rules)
    try:
        _check_timeouts(module)
        progress = channel.asked_for()

        def connect() -> ComputeDriver:
            driver = get_driver(module.connection_options())
            driver.progress = progress
            return driver

        def connect_dest() -> ComputeDriver:
            with _named_dest():
                driver = get_driver(module.destination_options())
            driver.progress = progress
            return driver

        interrupted = Interrupts().watch().reason if interruptible else _never
        task = Task(module.params, module.check_mode, module._diff, connect, module.warn, connect_dest, interrupted)
        result = reconcile(task)
        reason = interrupted()
        if reason is not None:  # nobody reads the result any more, so the system's log has what became of it
            module.log(f"{reason}: {result.get('msg') or 'everything was done all the same'}")
    except AnyvirtError as error:
        module.fail_json(message_of(error), error=error_as_dict(error))
    except Exception as error:  # a bug: still a result that people can read and report
        module.fail_json(
            f"something went wrong that should not: {type(error).__name__}: {error}",
            error=error_as_dict(error),
            exception=traceback.format_exc(),
        )
    else:
        if result.pop("failed", False):
            module.fail_json(result.pop("msg"), **result)
        module.exit_json(**result)


def _never() -> str | None:
    return None


@contextmanager
def _named_dest() -> Iterator[None]:
    """What is wrong with the second URI is said of the options that it has to do with."""
    try:
        yield
    except (InvalidUri, Unsupported) as error:
        text = re.sub(r"^uri:", "dest:", str(error))
        error.args = (text.replace("option password", "option dest_password"),)
        raise


def _check_timeouts(module: AnyvirtModule) -> None:
    wrong = [option for option in ("connect_timeout", "call_timeout") if not module.params[option] > 0]
    if wrong:
        raise InvalidInput(Problem(option, "must be more than 0 seconds") for option in wrong)


def _given(params: Mapping[str, Any], spec: Mapping[str, Any]) -> dict[str, Any]:
    """Without what was not given: a list of many instances would otherwise be mostly that."""
    given = {}
    for name, value in params.items():
        if value is not None:
            given[name] = _masked(value, spec[name]) if name in spec else MASK
    return given


def _masked(value: Any, option: Mapping[str, Any]) -> Any:
    inner = option.get("options")
    if option.get("no_log"):
        return MASK
    if not inner:
        return _without_password(value)
    if isinstance(value, dict):
        return _given(value, inner)
    if isinstance(value, list):
        return [_given(item, inner) if isinstance(item, dict) else MASK for item in value]
    return MASK  # it cannot be right, and who knows what is in it


def _without_password(value: Any) -> Any:
    """A URL with a password in it is refused, and not shown either."""
    password = password_in(value) if isinstance(value, str) else ""
    return value.replace(password, MASK) if password else value
