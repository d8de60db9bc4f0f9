#!/usr/bin/env python3
"""Writes the table of claims in signaling/README.md from tests/claims.tsv: what the SIP side promises, the RFCs that it
follows, and the tests that show it. `--check`: says whether the table is up to date instead, and fails when it is not."""
import pathlib, re, sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
README = ROOT / "signaling" / "README.md"
GROUPS = [
    ("SIP", ("sip", "inv", "reg", "early", "hold", "xfer", "timers", "dtmf")),
    ("Trunks, phones and transports", ("trunk",)),
    ("The dial plan", ("plan",)),
    ("Limits and abuse", ("limits",)),
    ("Seen with others", ("seen",)),
]
BEGIN, END = "<!-- claims: made by tests/claims_table.py -->", "<!-- end of claims -->"


def table():
    claims = []
    for line in (ROOT / "tests" / "claims.tsv").read_text().splitlines():
        columns = [column.strip() for column in line.split("\t")]
        if len(columns) == 3 and columns[0] != "claim" and not line.startswith("#"):
            claims.append(columns)
    out = [BEGIN]
    for title, prefixes in GROUPS:
        rows = [row for row in claims if row[0].split(".")[0] in prefixes]
        if not rows:
            continue
        shown = sum(row[2] != "open" for row in rows)
        out += ["", f"### {title}", "", f"{shown} of {len(rows)} are shown.", "", "| claim | | shown by |", "| --- | --- | --- |"]
        for name, text, tests in rows:
            by = "not shown yet" if tests == "open" else "<br>".join(f"`{t.strip()}`" if " " not in t.strip() else t.strip() for t in tests.split(";"))
            out.append("| {} | {} | {} |".format(f"`{name}`", text.replace("|", "\\|"), by.replace("|", "\\|")))
    out += ["", END]
    return "\n".join(out)


def main():
    text = README.read_text()
    if BEGIN not in text or END not in text:
        sys.exit(f"{README} has no place for the table: {BEGIN} … {END}")
    new = re.sub(re.escape(BEGIN) + ".*?" + re.escape(END), lambda _: table(), text, flags=re.S)
    if "--check" in sys.argv:
        if new != text:
            sys.exit("signaling/README.md's table of claims is not up to date: run tests/claims_table.py")
        return
    README.write_text(new)


main()
