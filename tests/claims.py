#!/usr/bin/env python3
"""Checks tests/claims.tsv: every test that it names must exist, by its exact name.

Columns: claim, text, shown by. The last is `open`, or test names with "; " between them. A test is a Rust test
function, a test of tests/e2e (`node tests/e2e/run.mjs --list`), a test of tests/measure or tests/peers, a step of
tests/run.sh, or a bench (a [[bench]] name, a criterion function, or the folder of a benchmark program). --open prints the claims that nothing shows yet.

Prints what is wrong, a line each, then "N passed, N failed": claims with tests that exist, and those with one that is
not there. Open claims count as neither."""
import pathlib, re, subprocess, sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
SKIP = {"target", "node_modules", ".git", ".venv", "crashes"}
RUST_TEST = re.compile(r"#\[(?:\w+::)*test(?:\([^\]]*\))?\]\s*(?:(?:#\[[^\]]*\]|//[^\n]*)\s*)*(?:pub(?:\([^)]*\))?\s+)?(?:async\s+)?fn\s+(\w+)")


def files(folder, *endings):
    for path in sorted(folder.iterdir()):
        if path.name in SKIP:
            continue
        if path.is_dir():
            yield from files(path, *endings)
        elif path.name.endswith(endings):
            yield path


def names():
    found = set()
    for path in files(ROOT, ".rs"):
        text = path.read_text(errors="replace")
        found.update(RUST_TEST.findall(text))
        if "benches" in path.parts:
            found.update(re.findall(r'(?:bench_function|bench_with_input|benchmark_group)\(\s*"([^"]+)"', text))
            found.update(re.findall(r'BenchmarkId::new\(\s*"([^"]+)"', text))
    for path in files(ROOT, "Cargo.toml"):
        found.update(re.findall(r'\[\[bench\]\]\s*name\s*=\s*"([^"]+)"', path.read_text()))
    measure = ROOT / "tests" / "measure"
    if measure.is_dir():
        for path in files(measure, ".test.mjs"):
            found.update(re.findall(r'^\s*test\("([^"]+)"', path.read_text(), re.M))
    for path in files(ROOT / "tests", "_test.py"):
        found.update(re.findall(r"^\s*(?:async\s+)?def (test_\w+)", path.read_text(), re.M))
    run = ROOT / "tests" / "run.sh"
    if run.exists():
        found.update(re.findall(r'\b(?:step|counted) "([^"]+)"', run.read_text()))
    # A benchmark that is a program of its own is named by its folder.
    found.update(f"benches/{path.parent.name}" for path in (ROOT / "benches").glob("*/Cargo.toml"))
    found.update(e2e())
    return found


def e2e():
    script = ROOT / "tests" / "e2e" / "run.mjs"
    if not script.exists():
        return []
    try:
        out = subprocess.run(["node", str(script), "--list"], capture_output=True, text=True, timeout=60)
    except OSError as error:
        sys.exit(f"the end-to-end tests cannot be listed: {error}")
    if out.returncode:
        sys.exit(f"the end-to-end tests cannot be listed (tests/run.sh install first?): {out.stderr.strip()[-400:]}")
    return out.stdout.splitlines()


def main():
    table = pathlib.Path(next((a for a in sys.argv[1:] if not a.startswith("-")), ROOT / "tests" / "claims.tsv"))
    known = names()
    good = bad = 0
    seen, still_open = set(), []
    for number, line in enumerate(table.read_text().splitlines(), 1):
        if not line.strip() or line.startswith("#") or number == 1 and line.split("\t")[0] == "claim":
            continue
        columns = line.split("\t")
        if len(columns) != 3:
            print(f"line {number}: {len(columns)} columns, not 3")
            bad += 1
            continue
        claim, text, shown = (c.strip() for c in columns)
        if claim in seen:
            print(f"line {number}: {claim} is there twice")
            bad += 1
            continue
        seen.add(claim)
        if shown == "open":
            still_open.append(f"{claim}\t{text}")
            continue
        missing = [t for t in map(str.strip, shown.split(";")) if t not in known]
        if missing or not shown:
            print(f"line {number}: {claim}: no such test: {', '.join(missing) or '(none named)'}")
            bad += 1
        else:
            good += 1
    if "--open" in sys.argv:
        print("\n".join(still_open))
    print(f"# {len(known)} tests and benches are known; {len(still_open)} claims are open")
    print(f"{good} passed, {bad} failed")
    sys.exit(1 if bad else 0)


main()
