#!/usr/bin/env python3
"""Holds the documents against the tree: README shows its two commands before anything else that can be run, and every
file or folder that ARCHITECTURE.md names in code marks exists, somewhere under the folders that the page speaks of."""
import pathlib, re, subprocess, sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
wrong = []

commands = re.findall(r"^    (\S.*)$", (ROOT / "README.md").read_text(), re.M)
if commands[:2] != ["deploy/run.sh", "tests/run.sh"]:
    wrong.append(f"README.md begins with other commands: {commands[:2]}")

tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
text = (ROOT / "ARCHITECTURE.md").read_text()
for name in sorted(set(re.findall(r"`([\w./-]+\.rs)`", text))):
    # `calls/midcall.rs` is signaling/calls/src/midcall.rs: folders in order, with src between them.
    parts = name.split("/")
    pattern = r"(?:.*/)?" + r"/(?:src/)?".join(re.escape(part) for part in parts) + "$"
    if not any(re.match(pattern, path) for path in tracked):
        wrong.append(f"ARCHITECTURE.md names {name}, which is not there")
for picture in ("## Three journeys", "An RTP packet, browser to PBX", "A JSON `call`", "An inbound INVITE"):
    if picture not in text:
        wrong.append(f"ARCHITECTURE.md has no \"{picture}\"")

print("\n".join(wrong))
sys.exit(1 if wrong else 0)
