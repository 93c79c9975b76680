"""Finds ONNX Runtime's C headers, or fetches them: prints the folder of onnxruntime_c_api.h.

    python plugins/onnxruntime/fetch_headers.py [FOLDER, default build/onnxruntime-headers]

Taken in this order: the environment variable ONNXRUNTIME_INCLUDE_DIR, the system's include folders,
FOLDER from an earlier run, and Debian's package libonnxruntime-dev, which is unpacked into FOLDER
and not installed. The package comes through a private apt state, so neither root nor a change of
the machine is needed; its source is the machine's own, with the suite replaced by that of the
first Debian release that has the package.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HEADER = "onnxruntime_c_api.h"
OLDEST_API = 17
PACKAGE = "libonnxruntime-dev"
# Debian releases without the package, and the first that has it.
OLD_SUITES = ("buster", "bullseye", "bookworm")
FIRST_SUITE = "trixie"
SYSTEM_FOLDERS = ("/usr/include", "/usr/local/include", "/opt/onnxruntime/include")
LAYOUTS = ("onnxruntime", "onnxruntime/core/session", ".")
ADVICE = (
    f"set ONNXRUNTIME_INCLUDE_DIR to the folder of {HEADER}, "
    f"version 1.{OLDEST_API} or newer (any ONNX Runtime release carries it)"
)


class HeadersError(RuntimeError):
    """The headers cannot be had; the text says why in one line."""


def api_version(folder: Path) -> int:
    """ORT_API_VERSION of the header in `folder`, 0 where there is none."""
    try:
        text = (folder / HEADER).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return 0
    match = re.search(r"^#define ORT_API_VERSION (\d+)", text, re.MULTILINE)
    return int(match.group(1)) if match else 0


def find_installed() -> Path | None:
    """The system's header folder that is new enough, if there is one."""
    folders = (Path(root) / layout for root in SYSTEM_FOLDERS for layout in LAYOUTS)
    return next((folder for folder in folders if api_version(folder) >= OLDEST_API), None)


def replace_suite(source: str) -> str:
    """An apt source, in one-line or deb822 form, with old Debian suites replaced.

    Sources of other suites (a vendor's own repository) are left out: they may lack the new suite.
    """
    old = "|".join(OLD_SUITES)
    suite = re.compile(rf"(?<![\w-])({old})(?=-security\b|-updates\b|/updates\b|[\s/]|$)")
    if re.search(r"^URIs:", source, re.MULTILINE):
        stanzas = re.split(r"\n\s*\n", source)
        return "\n\n".join(
            re.sub(
                r"^Suites:.*$",
                lambda line: suite.sub(FIRST_SUITE, line.group()),
                stanza,
                flags=re.MULTILINE,
            )
            for stanza in stanzas
            if re.search(rf"^Suites:.*(?<![\w-])({old}|{FIRST_SUITE})\b", stanza, re.MULTILINE)
        )
    lines = [line for line in source.splitlines() if line.lstrip().startswith("deb ")]
    wanted = (line for line in lines if re.search(rf"\s({old}|{FIRST_SUITE})(-updates)?\s", line))
    return "\n".join(suite.sub(FIRST_SUITE, line) for line in wanted) + "\n"


def _apt_value(name: str) -> Path:
    answer = subprocess.run(
        ["apt-config", "shell", "VALUE", f"{name}/f"], capture_output=True, text=True, check=True
    )
    return Path(answer.stdout.partition("=")[2].strip().strip("'"))


def write_sources(folder: Path) -> None:
    """Writes the machine's own apt sources, with the suite replaced, to `folder`."""
    parts = _apt_value("Dir::Etc::sourceparts")
    files = [_apt_value("Dir::Etc::sourcelist")]
    files += sorted([*parts.glob("*.list"), *parts.glob("*.sources")])
    found = False
    for path in files:
        if not path.is_file():
            continue
        replaced = replace_suite(path.read_text(encoding="utf-8"))
        if replaced.strip():
            (folder / path.name).write_text(replaced, encoding="utf-8")
            found = True
    if not found:
        raise HeadersError("this machine's apt has no Debian source")


def _run(command: list[str], **environment: str) -> None:
    answer = subprocess.run(
        command,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
    )
    if answer.returncode != 0:
        lines = (answer.stderr.strip() or answer.stdout.strip()).splitlines()
        raise HeadersError(f"{' '.join(command[:2])}: {lines[-1] if lines else 'failed'}")


def unpack_package(target: Path) -> None:
    """Unpacks the package into `target` through an apt state of its own."""
    for tool in ("apt-get", "apt-config", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise HeadersError(f"{tool} not found: this is no Debian machine")
    with tempfile.TemporaryDirectory(prefix="apt-", dir=target.parent) as name:
        work = Path(name).resolve()
        sources = work / "sources"
        for folder in ("sources", "state/lists/partial", "cache/archives/partial", "packages"):
            (work / folder).mkdir(parents=True)
        (work / "status").touch()
        write_sources(sources)
        # The file APT_CONFIG names is read last, so it wins over the machine's own settings.
        (work / "apt.conf").write_text(
            f'Dir::State "{work}/state";\n'
            f'Dir::State::status "{work}/status";\n'
            f'Dir::Cache "{work}/cache";\n'
            f'Dir::Etc::SourceList "/dev/null";\n'
            f'Dir::Etc::SourceParts "{sources}";\n'
            # The private folders are not the download user's.
            'APT::Sandbox::User "";\n'
            'Acquire::Languages "none";\n',
            encoding="utf-8",
        )
        environment = {"APT_CONFIG": str(work / "apt.conf"), "LC_ALL": "C"}
        _run(["apt-get", "update"], **environment)
        _run(
            ["sh", "-c", f"cd '{work}/packages' && exec apt-get download {PACKAGE}"], **environment
        )
        package = next((work / "packages").glob("*.deb"))
        _run(["dpkg-deb", "-x", str(package), str(work / "unpacked")])
        shutil.rmtree(target, ignore_errors=True)
        (work / "unpacked").replace(target)


def _check_replaceable(target: Path) -> None:
    """HeadersError unless `target`, which is to be replaced, is absent, empty or an older one."""
    if not target.exists():
        return
    content = [target] if target.is_file() else list(target.iterdir())
    header = target / "usr" / "include" / "onnxruntime" / HEADER
    if content and not (content == [target / "usr"] and header.is_file()):
        raise HeadersError(f"{target} is there and holds something else: name another folder")


def find_headers(target: Path) -> Path:
    """Folder of the headers; fetches them into `target` where needed. Raises HeadersError."""
    named = os.environ.get("ONNXRUNTIME_INCLUDE_DIR")
    if named:
        if api_version(Path(named)) < OLDEST_API:
            raise HeadersError(
                f"ONNXRUNTIME_INCLUDE_DIR: expected {HEADER} of API version {OLDEST_API} or newer, "
                f"got version {api_version(Path(named))} in {named}"
            )
        return Path(named)
    installed = find_installed()
    if installed is not None:
        return installed
    fetched = target / "usr" / "include" / "onnxruntime"
    if api_version(fetched) < OLDEST_API:
        _check_replaceable(target)
        target.parent.mkdir(parents=True, exist_ok=True)
        unpack_package(target)
    if api_version(fetched) < OLDEST_API:
        raise HeadersError(f"{PACKAGE} has no {HEADER} of API version {OLDEST_API} or newer")
    return fetched


def main(arguments: list[str]) -> int:
    repository = Path(__file__).resolve().parents[2]
    target = Path(arguments[0]) if arguments else repository / "build" / "onnxruntime-headers"
    try:
        print(find_headers(target.resolve()))
    except (HeadersError, OSError, subprocess.SubprocessError) as error:
        print(f"ONNX Runtime's headers: {error}; {ADVICE}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
