"""The address of a PostgreSQL database, as libpq takes it: a URL or key=value words, one host or several.

libpq itself reads it (through psycopg2), so several hosts, sockets, services, password files and TLS settings
work as they do in psql. psycopg2 is imported when an address is read: `heimdall doctor` works without it.
"""

from __future__ import annotations

import ipaddress
import itertools
from dataclasses import dataclass, field

from heimdall.core import variables
from heimdall.core.errors import HeimdallError

WITH_TLS = ("require", "verify-ca", "verify-full")
_FORM = (
    "Set {} to postgresql://user:password@host:5432/database?sslmode=require, with special characters as %XX"
)


@dataclass(frozen=True)
class Address:
    """What an address says, without what only libpq knows (a service's file, libpq's own variables).

    Attributes:
        parameters: libpq's parameters by their names; they hold the password.
        hosts: Host (or folder of a socket) and port of each server, in order. Empty where a service names
            them; one empty host where libpq's default socket is meant.
    """

    parameters: dict[str, str] = field(repr=False)
    hosts: tuple[tuple[str, int], ...]

    @property
    def name(self) -> str:
        """`host:port/database` for messages, several servers with commas; no user, no password."""
        database = self.parameters.get("dbname") or variables.PGDATABASE.read()
        if not self.hosts:
            return f"service {_service(self.parameters)}" + (f"/{database}" if database else "")
        named = [f"[{host}]" if ":" in host else host or "socket" for host, _ in self.hosts]
        servers = [f"{host}:{port}" for host, (_, port) in zip(named, self.hosts, strict=True)]
        return f"{','.join(servers)}/{database}"

    @property
    def password(self) -> str:
        """The password in it; empty where there is none."""
        return self.parameters.get("password", "")

    def with_database(self, name: str) -> str:
        """The same address with another database, as libpq's key=value words."""
        from psycopg2 import extensions  # noqa: PLC0415 - see the module's docstring

        return str(extensions.make_dsn(**self.parameters | {"dbname": name}))


def parse(text: str, subject: str = variables.DATABASE_URL.name) -> Address:
    """Read an address.

    Args:
        text: A postgresql:// URL, or words such as `host=a,b dbname=radio`.
        subject: The variable that has it, for the message.

    Returns:
        What it says.

    Raises:
        HeimdallError: libpq does not understand it, it names no database, or a part of an unescaped password
            would be taken for host or database. The text is not repeated.
    """
    import psycopg2  # noqa: PLC0415 - see the module's docstring
    from psycopg2 import extensions  # noqa: PLC0415

    try:
        parameters: dict[str, str] = extensions.parse_dsn(text)
        hosts = _hosts(parameters)
    except (psycopg2.Error, ValueError):
        raise HeimdallError(subject, "not a PostgreSQL URL", _FORM.format(subject)) from None
    database = parameters.get("dbname", "")
    named = database or _service(parameters) or variables.PGDATABASE.read()
    if not named or any(sign in database for sign in "/@") or any("@" in host for host, _ in hosts):
        raise HeimdallError(subject, "not a PostgreSQL URL with a database's name", _FORM.format(subject))
    return Address(parameters, hosts)


def configured(variable: variables.Variable) -> str:
    """The address in the environment, checked.

    Args:
        variable: Has it.

    Raises:
        HeimdallError: As `parse`, or a server on another machine would be reached without TLS.
    """
    text = variable.read()
    require_tls(parse(text, variable.name), variable.name)
    return text


def require_tls(address: Address, variable: str = variables.DATABASE_URL.name) -> None:
    """Refuse an address whose password and rows would cross a network in the clear.

    Args:
        address: What it says.
        variable: Has it, for the message.

    Raises:
        HeimdallError: It names another machine, does not demand TLS, and is not allowed by name.
    """
    mode = address.parameters.get("sslmode") or variables.PGSSLMODE.read()
    if mode in WITH_TLS:
        return
    hosts = [host for host, _ in address.hosts]
    # Where both are given for a server libpq connects to this one, and takes the other for a name alone.
    numeric = (address.parameters.get("hostaddr") or variables.PGHOSTADDR.read()).split(",")
    for number, host in itertools.zip_longest(numeric, hosts, fillvalue=""):
        refuse_without_tls(number or host, f"sslmode={mode} does not demand TLS", variable)


def refuse_without_tls(host: str, why: str, variable: str) -> None:
    """Refuse a host on another machine that is not in HEIMDALL_DATABASE_WITHOUT_TLS.

    Args:
        host: Name, address, or folder of a socket.
        why: What is wrong with the connection.
        variable: Has the address.

    Raises:
        HeimdallError: It is on another machine, and not allowed.
    """
    allowed = {name.strip() for name in variables.DATABASE_WITHOUT_TLS.read().split(",")}
    if is_local(host) or host in allowed:
        return
    raise HeimdallError(
        f"PostgreSQL {host}",
        f"it is on another machine, and {why}",
        f"Add sslmode=require (better verify-full) to {variable}, or name the host in "
        f"{variables.DATABASE_WITHOUT_TLS.name} if the network between is trusted",
    )


def is_local(host: str) -> bool:
    """Whether a host is this machine: the loopback interface or a socket."""
    if host in ("", "localhost") or host.startswith(("/", "@")):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _service(parameters: dict[str, str]) -> str:
    """The section of libpq's file of services that is meant; empty where none is."""
    return parameters.get("service") or variables.PGSERVICE.read()


def _hosts(parameters: dict[str, str]) -> tuple[tuple[str, int], ...]:
    """Host and port of each server; libpq's rule: as many ports as hosts, or one for all."""
    given = parameters.get("host") or parameters.get("hostaddr") or variables.PGHOST.read()
    if not given and _service(parameters):
        return ()
    hosts = given.split(",")
    ports = (parameters.get("port") or variables.PGPORT.read()).split(",")
    if len(ports) == 1:
        ports *= len(hosts)
    if len(ports) != len(hosts):
        raise ValueError("not as many ports as hosts")
    numbers = [int(port or variables.PGPORT.default) for port in ports]
    if any(not 0 < number < 65_536 for number in numbers):
        raise ValueError("a port out of range")
    return tuple(zip(hosts, numbers, strict=True))
