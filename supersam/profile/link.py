"""A device at the other end of the system's own ``ssh``: commands there, with what they read and print."""

import shlex
import subprocess
from dataclasses import dataclass

from supersam.errors import EnvironmentProblem, UsageError

LOST = 255  # what ssh ends with when the link, not the command, failed
QUIET = ("BatchMode=yes", "ConnectTimeout=10", "ServerAliveInterval=5", "ServerAliveCountMax=3")
NOT_LET_IN = ("Permission denied", "Host key verification failed")


class LinkLost(EnvironmentProblem):
    """The device does not answer now; it may later."""


@dataclass(frozen=True)
class Target:
    """Where a device is and what is where on it."""

    address: str  # user@host, or a name of ~/.ssh/config
    port: int | None = None
    options: tuple[str, ...] = ()  # of ssh, as in -o
    python: str = "python3"
    folder: str = ".cache/supersam/profile"  # of all measurements, from the home folder unless absolute
    program: str = ""  # trtexec, benchmark_model, executor_runner; empty: where they usually are

    def __post_init__(self) -> None:
        # "~" is quoted on its way and would be a folder of that name; ssh begins in the home folder anyway
        object.__setattr__(self, "folder", self.folder.removeprefix("~/"))

    @staticmethod
    def parse(text: str) -> tuple[str, int | None]:
        """Return address and port of ``user@host`` or ``user@host:port``.

        Raises:
            UsageError: if it is neither.
        """
        address, colon, port = text.rpartition(":")
        if not colon or ":" in address:  # no port, or the colons of an IPv6 address
            address, port = text, ""
        if not address or address.startswith("-") or any(letter.isspace() for letter in address):
            raise UsageError(f"{text!r} is no device for ssh; write user@host or user@host:port")
        if port and not (port.isdecimal() and 0 < int(port) < 65536):
            raise UsageError(f"{port!r} in {text!r} is no port; write user@host or user@host:port")
        return address, int(port) if port else None


class Link:
    """Runs commands on a device; every command is a connection of its own, so there is none to lose between them."""

    def __init__(self, target: Target) -> None:
        self.target = target

    def run(self, *command: str, stdin: bytes = b"") -> bytes:
        """Return what a command prints there.

        Raises:
            LinkLost: if the device does not answer.
            EnvironmentProblem: if it answers and refuses, or the command fails; its last line says why.
        """
        options = [word for option in (*self.target.options, *QUIET) for word in ("-o", option)]  # the first one counts
        port = ["-p", str(self.target.port)] if self.target.port else []
        line = ["ssh", *options, *port, "--", self.target.address, shlex.join(command)]
        try:
            done = subprocess.run(line, input=stdin, capture_output=True, check=False)
        except FileNotFoundError as problem:
            raise EnvironmentProblem("there is no ssh on this machine; install an OpenSSH client") from problem
        if done.returncode == 0:
            return done.stdout
        said = (done.stderr.decode(errors="replace").strip().splitlines() or ["it said nothing"])[-1]
        if done.returncode != LOST:
            raise EnvironmentProblem(self._refusal(done.returncode, command[0], said))
        where = " ".join([*port, self.target.address])
        if any(word in said for word in NOT_LET_IN):
            raise EnvironmentProblem(
                f"{self.target.address} does not let ssh in without a password ({said}); "
                f"try: ssh-copy-id {where}, and once: ssh {where}"
            )
        if "Could not resolve" in said:
            raise EnvironmentProblem(f"there is no host {self.target.address} ({said}); is it spelt right, and on?")
        if "onfiguration option" in said or "keyword" in said:
            raise EnvironmentProblem(f"ssh does not take the options it was given ({said})")
        raise LinkLost(f"{self.target.address} does not answer ({said})")

    def _refusal(self, code: int, program: str, said: str) -> str:
        if code == 127:
            return f"{self.target.address} has no {program}; install it there or name another with --remote-python"
        return f"{self.target.address}: {said.removeprefix('agent: ')}"
