"""`python sbom.py NAME VERSION`: SPDX 2.3 of the image that it runs in, as JSON: Python's packages and the base's.

Runs while an image is built, with the standard library alone; tests/images checks what it writes with spdx-tools.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import uuid
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

NOTHING = "NOASSERTION"


def python_packages() -> list[tuple[str, str, str, str]]:
    """Name, version, package URL and declared licence of what the virtual environment holds."""
    found = []
    for item in metadata.distributions():
        name = re.sub(r"[-_.]+", "-", item.metadata["Name"]).lower()
        licence = item.metadata.get("License-Expression") or NOTHING
        found.append((name, item.version, f"pkg:pypi/{name}@{item.version}", licence))
    return found


def debian_packages() -> list[tuple[str, str, str, str]]:
    """The same of the base's packages; their licences are in /usr/share/doc, not in a field."""
    show = ["dpkg-query", "--show", "--showformat", "${Package}\t${Version}\t${Architecture}\n"]
    found = []
    for line in subprocess.run(show, capture_output=True, text=True, check=True).stdout.splitlines():
        name, version, architecture = line.split("\t")
        found.append((name, version, f"pkg:deb/debian/{name}@{version}?arch={architecture}", NOTHING))
    return found


def document(name: str, version: str, packages: list[tuple[str, str, str, str]]) -> dict[str, object]:
    """The SPDX document of an image that holds these packages."""
    seconds = os.environ.get("SOURCE_DATE_EPOCH")
    created = datetime.fromtimestamp(int(seconds), UTC) if seconds else datetime.now(UTC)
    image = {"SPDXID": "SPDXRef-image", "name": name, "versionInfo": version, "primaryPackagePurpose": "CONTAINER"}
    entries: list[dict[str, object]] = [image | {"licenseDeclared": "Apache-2.0"}]
    for number, (package, release, url, licence) in enumerate(packages):
        reference = {"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": url}
        entry = {"SPDXID": f"SPDXRef-package-{number}", "name": package, "versionInfo": release}
        entries.append(entry | {"licenseDeclared": licence, "externalRefs": [reference]})
    unknown = dict.fromkeys(("downloadLocation", "licenseConcluded", "copyrightText"), NOTHING)
    contained = [
        {"spdxElementId": "SPDXRef-image", "relationshipType": "CONTAINS", "relatedSpdxElement": entry["SPDXID"]}
        for entry in entries[1:]
    ]
    described = {"spdxElementId": "SPDXRef-DOCUMENT", "relationshipType": "DESCRIBES"}
    own = sorted({name for *_, licence in packages for name in re.findall(r"LicenseRef-[\w.-]+", licence)})
    content = "\n".join(url for _, _, url, _ in packages)
    return {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": f"{name}-{version}",
        "documentNamespace": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, f'{name}@{version}' + content)}",
        "creationInfo": {"created": f"{created:%Y-%m-%dT%H:%M:%SZ}", "creators": ["Tool: crossover-images-sbom"]},
        "packages": [entry | unknown | {"filesAnalyzed": False} for entry in entries],
        "hasExtractedLicensingInfos": [
            {"licenseId": name, "extractedText": "in the package that declares it"} for name in own
        ],
        "relationships": [described | {"relatedSpdxElement": "SPDXRef-image"}, *contained],
    }


if __name__ == "__main__":
    everything = sorted(python_packages()) + (debian_packages() if Path("/var/lib/dpkg").exists() else [])
    json.dump(document(sys.argv[1], sys.argv[2], everything), sys.stdout, indent=1)
