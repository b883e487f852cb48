#!/usr/bin/env python3
"""Makes a corpus folder of 171 entries of the Jargon File, with facts and questions about them.

    python3 tests/jargon/make.py OUT_DIR

The text comes from the Debian package `jargon-text`, fetched by `apt-get download` (no root needed).
`--deb FILE` reads a package file that is there already.

    OUT_DIR/corpus.toml         name and description
    OUT_DIR/entries/<slug>.md   one entry each, the headwords of entries.txt
    OUT_DIR/facts.jsonl         a copy of the facts.jsonl beside this script
"""
import argparse
import glob
import gzip
import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
PACKAGE = "jargon-text"
TEXT = "usr/share/doc/jargon-text/jargon.txt.gz"
ABOUT = '''name = "Jargon File"
description = "Entries of the Jargon File 4.4.7, a public-domain lexicon of hacker slang and computing folklore."
'''
BODY = 3  # the columns by which the body of the text is indented


class Failed(Exception):
    """What failed, and what to do next."""

    def __init__(self, what, then):
        super().__init__(f"error: {what}\n{then}")


def run(command, cwd, then):
    try:
        done = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    except FileNotFoundError:
        raise Failed(f"no program `{command[0]}` here", "Run this on Debian or Ubuntu.") from None
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or "it said nothing").splitlines()[-1]
        raise Failed(f"`{' '.join(map(str, command))}` failed: {said}", then)


def download(folder):
    # The sandbox user could not write into a private temporary folder.
    run(["apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", PACKAGE], folder,
        "Run `apt-get update` as root and try again, or fetch the package from "
        f"https://packages.debian.org/{PACKAGE} and give it with --deb.")
    packages = glob.glob(f"{folder}/{PACKAGE}_*.deb")
    if not packages:
        raise Failed(f"apt-get brought no {PACKAGE} package", "Fetch it by hand and give it with --deb.")
    return packages[0]


def jargon_file(deb):
    """The lines of the whole text."""
    with tempfile.TemporaryDirectory() as folder:
        if deb is not None and not pathlib.Path(deb).is_file():
            raise Failed(f"no file {deb}", "Give the package file with --deb, or leave --deb out.")
        package = pathlib.Path(deb).resolve() if deb else download(folder)
        run(["dpkg-deb", "-x", package, "."], folder, "Delete the package file and fetch it again.")
        path = pathlib.Path(folder, TEXT)
        if not path.is_file():
            raise Failed(f"{package} holds no {TEXT}", f"Give the Debian package {PACKAGE} 4.4.7 with --deb.")
        with gzip.open(path, "rt", encoding="utf-8") as text:
            return text.read().splitlines()


def split(lines):
    """Headword to the lines under it, without the line of pronunciation and grammar."""
    entries, body, in_head = {}, None, False
    for line in lines:
        head = re.match(r" {3}:(\S.*?):(?:\s|$)", line)
        if head:
            body, in_head = entries.setdefault(head[1], []), True
        elif line and not line.startswith(" " * BODY) and not line.startswith(("│", "├", "┌", "└")):
            body = None  # a heading of the book
        elif in_head:
            in_head = bool(line.strip())
        elif body is not None:
            body.append(line)
    return entries


def blocks(lines):
    """Runs of lines without a blank one between them."""
    block = []
    for line in [*lines, ""]:
        if line.strip():
            block.append(line)
        elif block:
            yield block
            block = []


def without_braces(text):
    """Cross references are in braces: {foo}."""
    return re.sub(r"\{([^\s{}][^{}]*)\}", r"\1", text)


def table(block):
    """A drawn table as a list, one item a row."""
    rows, row = [], None
    for line in block:
        line = line.strip()
        if line.startswith("│"):
            cells = [cell.strip() for cell in line.strip("│").split("│")]
            row = [f"{old} {new}".strip() for old, new in zip(row, cells)] if row else cells
        elif row:
            rows.append(row)
            row = None
    return "\n".join("- " + without_braces(": ".join(filter(None, (cell.rstrip(":") for cell in row)))) for row in rows)


def markdown(block):
    if block[0].strip().startswith("┌"):
        return table(block)
    indented = all(line.startswith(" " * (BODY + 1)) for line in block)
    if indented and any(len(line.strip()) < 45 for line in block[:-1] or block):
        return "\n".join(["```", *(line[BODY:].rstrip() for line in block), "```"])
    text = without_braces(" ".join(line.strip() for line in block))
    return re.sub(r"^• *", "- ", text)


def document(headword, lines):
    parts = [markdown(block) for block in blocks(lines)]
    parts = [part for part in parts if not part.startswith("(The next cartoon")]
    text = "\n\n".join([f"# {headword}", *parts]) + "\n"
    return text.replace("\n```\n\n```\n", "\n\n")  # one block of code with blank lines in it


def slug(headword):
    return re.sub(r"[^a-z0-9]+", "-", headword.lower().replace("'", "")).strip("-")


def documents(deb):
    """Slug to text, for every headword of entries.txt."""
    wanted = [line.strip() for line in (HERE / "entries.txt").read_text(encoding="utf-8").splitlines()]
    wanted = [headword for headword in wanted if headword]
    entries = split(jargon_file(deb))
    missing = [headword for headword in wanted if not any(map(str.strip, entries.get(headword, [])))]
    if missing:
        raise Failed(f"the text has no entry for {', '.join(missing)}",
                     "Correct the headwords in tests/jargon/entries.txt, or give version 4.4.7 with --deb.")
    texts = {slug(headword): document(headword, entries[headword]) for headword in wanted}
    if len(texts) < len(wanted):
        raise Failed("two headwords have the same file name", "Take one of them out of tests/jargon/entries.txt.")
    return texts


def check(facts, texts):
    """Every fact's first answer stands in its document."""
    for number, line in enumerate(facts.splitlines(), 1):
        fact = json.loads(line)
        text = texts.get(fact["document"].removeprefix("entries/"))
        if text is None or fact["answers"][0].lower() not in text.lower():
            raise Failed(f"facts.jsonl:{number}: \"{fact['answers'][0]}\" does not stand in {fact['document']}",
                         "Correct tests/jargon/facts.jsonl, or give version 4.4.7 of the package with --deb.")


def may_write(out):
    """An empty folder, or one that this script wrote."""
    if out.exists() and not out.is_dir():
        raise Failed(f"{out} is not a folder", "Give the name of a new folder.")
    about = out / "corpus.toml"
    ours = about.is_file() and about.read_text(encoding="utf-8") == ABOUT
    if out.is_dir() and any(out.iterdir()) and not ours:
        raise Failed(f"{out} holds other files", "Give the name of a new or empty folder.")


def main():
    arguments = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    arguments.add_argument("out", metavar="OUT_DIR", type=pathlib.Path)
    arguments.add_argument("--deb", metavar="FILE", help=f"a {PACKAGE} package that is there already")
    given = arguments.parse_args()
    may_write(given.out)
    facts = (HERE / "facts.jsonl").read_text(encoding="utf-8")
    texts = documents(given.deb)
    check(facts, texts)
    folder = given.out / "entries"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, text in texts.items():
        (folder / f"{name}.md").write_text(text, encoding="utf-8")
    (given.out / "facts.jsonl").write_text(facts, encoding="utf-8")
    (given.out / "corpus.toml").write_text(ABOUT, encoding="utf-8")
    n_words = sum(len(text.split()) for text in texts.values())
    print(f"{given.out}: {len(texts)} documents, {n_words} words, {len(facts.splitlines())} facts")


if __name__ == "__main__":
    try:
        main()
    except (Failed, OSError) as wrong:
        sys.exit(str(wrong) if isinstance(wrong, Failed) else f"error: {wrong}\nCheck the path and its rights.")
