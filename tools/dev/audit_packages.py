"""Ask pip-audit for advisories about the packages of an environment.

``audit_packages.py PIP_AUDIT PACKAGES``. Exit status 1 if a package has a known vulnerability. Where the
service can't be reached, or knows none of the packages, it says so in one line and the status is 0.
"""

from __future__ import annotations

import json
import subprocess
import sys

# What of the findings is accepted: id → why.
ACCEPTED: dict[str, str] = {}
PATIENCE_S = 300


def main() -> int:
    """Run and tell."""
    program, packages = sys.argv[1:]
    command = [program, "--path", packages, "--format", "json", "--progress-spinner", "off"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
        found = json.loads(done.stdout)["dependencies"]
    except subprocess.TimeoutExpired:
        print(f"pip-audit: no answer in {PATIENCE_S} s; nothing was audited")
        return 0
    except (ValueError, KeyError):
        lines = done.stderr.strip().splitlines() or ["it said nothing"]
        print(f"pip-audit: {lines[-1][:200]}; nothing was audited")
        return 0
    audited = [package for package in found if "skip_reason" not in package]
    if not audited:
        print(f"pip-audit: the service knows none of {len(found)} packages; nothing was audited")
        return 0
    open_ = [
        (p["name"], p["version"], v["id"]) for p in audited for v in p["vulns"] if v["id"] not in ACCEPTED
    ]
    for name, version, id_ in open_:
        print(f"{name} {version}: {id_}")
    print(f"pip-audit: {len(audited)} of {len(found)} packages audited, {len(open_)} open findings")
    return bool(open_)


if __name__ == "__main__":
    sys.exit(main())
