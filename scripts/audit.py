"""Check the pinned packages for known vulnerabilities, and write the SBOM of each image.

    .venv-audit/bin/python scripts/audit.py [FILE ...]     by default every pinned requirements file

Exits 1 if a package has a known vulnerability, 2 if any could not be checked: pip-audit itself then reports success.
The SBOMs (CycloneDX) list Python packages; those of the Debian base are the base image's own.
"""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
TOOLS = Path(sys.executable).parent
IMAGES = {"function": "function/requirements.txt", "dispatcher": "dispatcher/requirements.txt"}
IMAGES["controller"] = "autoscaler_tuning/requirements.txt"
REQUIREMENTS = (
    "requirements.txt",
    *IMAGES.values(),
    "function/requirements-export.txt",
    "function/requirements-build.txt",
    "tests/clients/requirements.txt",
    "scripts/audit-requirements.txt",
)


def audited(requirements: Path) -> list[Mapping[str, Any]]:
    """Return pip-audit's finding for each package of a file; empty if it could not reach its database."""
    command = [str(TOOLS / "pip-audit"), "--disable-pip", "--require-hashes", "--format", "json"]
    command += ["--progress-spinner", "off", "--requirement", str(requirements)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        findings: list[Mapping[str, Any]] = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        print(
            f"{requirements}: pip-audit exited with {done.returncode}: {(done.stderr.splitlines() or ['no text'])[-1]}"
        )
        return []
    return findings


def report(name: str, findings: Sequence[Mapping[str, Any]]) -> int:
    """Print the findings of one file; return its exit status."""
    skipped = [one for one in findings if "skip_reason" in one]
    vulnerable = [one for one in findings if one.get("vulns")]
    checked = len(findings) - len(skipped)
    print(f"{name}: {checked} of {len(findings)} packages checked, {len(vulnerable)} with known vulnerabilities")
    for one in vulnerable:
        ids = ", ".join(f"{found['id']} (fixed in {', '.join(found['fix_versions'])})" for found in one["vulns"])
        print(f"  {one['name']} {one['version']}: {ids}")
    if not checked:
        print(f"  nothing checked: {skipped[0]['skip_reason'] if skipped else 'no answer from the database'}")
    elif skipped:
        print(f"  not checked: {', '.join(one['name'] for one in skipped)}")
    return 1 if vulnerable else 2 if skipped or not checked else 0


def write_sbom(image: str, requirements: Path) -> None:
    """Write sbom/IMAGE.cdx.json."""
    out = ROOT / "sbom" / f"{image}.cdx.json"
    out.parent.mkdir(exist_ok=True)
    command = [str(TOOLS / "cyclonedx-py"), "requirements", "--output-reproducible", "--of", "JSON"]
    subprocess.run([*command, "--output-file", str(out), str(requirements)], check=True)
    print(f"{out.relative_to(ROOT)}: {len(json.loads(out.read_text())['components'])} packages")


def main(files: Sequence[str]) -> int:
    """Audit the files, write the SBOMs, and return the exit status."""
    statuses = [report(name, audited(ROOT / name)) for name in files or REQUIREMENTS]
    for image, requirements in IMAGES.items():
        write_sbom(image, ROOT / requirements)
    return 1 if 1 in statuses else max(statuses)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
