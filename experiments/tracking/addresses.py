"""Tracking addresses, which stand in run folders that are sent and shown: without the user, password and tokens that
MLflow and the databases' drivers read from elsewhere."""

from __future__ import annotations

import re

PLAIN = re.compile(r"(sqlite|file)[\w+]*:", re.I)
"""Addresses of files, in which an @ is part of a folder's name."""
USER = re.compile(r"(?<!sqlite)(?<!file)://[^\s'\"]*@")
START = re.compile(r"^(\W*(?:[\w+.-]{2,}:/+|//)|(?=[^/:]+:[^/\\]))([^/].*)@")
"""Of an address alone up to its host: what stands before the user, which may have blanks in it, a slash too few or no
scheme at all before it."""
TOKEN = re.compile(
    r"(?i)(?:(?<=[?&;#])|(?<=%3b)|(?<=%26))([\w.-]*(?:token|passw|pwd|secret|key|sig|auth|credential)[\w.-]*)"
    r"(?:=|%3d)(?:(?!%3b|%26)[^&;#\s'\"])*"
)
HTTP = (
    "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, in the environment of this "
    "and every later command"
)
DATABASE = (
    "leave them to the database's driver, which reads PGUSER and PGPASSWORD or ~/.pgpass (PostgreSQL), or ~/.my.cnf "
    "(MySQL, with ?read_default_file=~/.my.cnf)"
)


def masked(text: str) -> str:
    """Any text, *** in place of users, passwords and tokens of the addresses in it."""
    return TOKEN.sub(r"\1=***", USER.sub("://***@", text))


def without_secret(uri: str) -> str:
    """The address alone."""
    bare = uri if PLAIN.match(uri) else TOKEN.sub("", START.sub(r"\1", uri))
    return re.sub(r"[?&;#]+$", "", re.sub(r"([?&;])[&;]+", r"\1", bare))


def refuse_secret(uri: str | None) -> None:
    """Raises ValueError for an address with a user, a password or a token in it, which does not repeat them. A user of
    a database without a password is none."""
    if uri is None or PLAIN.match(uri):
        return
    web = uri.lower().startswith("http")
    user = re.split(r"[/?#]", uri.partition("://")[2])[0].rpartition("@")[0]
    start = START.match(uri)
    if (user and web) or (start and ":" in start[2]) or TOKEN.search(uri):
        shown = TOKEN.sub(r"\1=***", START.sub(r"\1***@", uri))
        raise ValueError(
            f"tracking={shown} holds a user, a password or a token, which would be written into the run and sent "
            f"with it. Give tracking={without_secret(uri)}, and {HTTP if web else DATABASE}"
        )
