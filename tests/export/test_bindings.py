"""Generated sources: the manifest's numbers, the artifact's names, and no way out of a string literal."""

import re
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from export.bindings import FOLDER
from export.core_ml import MODEL_FILE
from export.exporter import OUTPUT_NAMES
from export.templates import kotlin_literal, swift_literal
from export.verify import read_manifest


def sources(bundle: Path) -> tuple[str, str]:
    kotlin, swift = ((bundle / FOLDER / f"PocketrecModel.{ending}").read_text() for ending in ("kt", "swift"))
    return kotlin, swift


def test_they_speak_the_manifest(bundle: Path) -> None:
    manifest = read_manifest(bundle)
    kotlin, swift = sources(bundle)
    assert "const val HISTORY_LENGTH = 16\n" in kotlin
    assert "static let historyLength = 16\n" in swift
    assert "const val CANDIDATES = 20\n" in kotlin
    assert "static let candidates = 20\n" in swift
    for name, code in manifest.event_codes.items():
        assert f'"{name}" to {code},' in kotlin
        assert f'"{name}": {code},' in swift
    assert '"167" to 168,' in kotlin
    assert '"167": 168,' in swift
    order = list(manifest.adapter)
    assert re.findall(r'"(\w+)" to intArrayOf', kotlin) == order
    assert re.findall(r'^        \("(\w+)", \[[\d, ]+\]\),$', swift, re.MULTILINE) == order
    for spec in manifest.signatures["recommend"].inputs:
        assert f'"{spec.name}" to arrayOf(' in kotlin
        assert f'"{spec.name}": feature(' in swift


def test_swift_asks_for_the_package_s_own_outputs(bundle: Path) -> None:
    import coremltools as ct

    package = ct.utils.load_spec(str(bundle / "model.mlpackage" / MODEL_FILE))
    named = {output.name for output in package.description.output}
    assert named == set(OUTPUT_NAMES.values()) == set(re.findall(r'for: "(\w+)"', sources(bundle)[1]))


def test_names_out_of_the_data_stay_inside_their_literals(bundle: Path) -> None:
    kotlin, swift = sources(bundle)  # a segment of the tiny bundle is called: late "$night" and a newline
    assert r'"late \"\$night\"\u000a" to 1,' in kotlin
    assert r'"late \"$night\"\u{a}": 1,' in swift


@given(text=st.text())
def test_a_literal_reads_back_as_its_text(text: str) -> None:
    for literal, pattern in (
        (kotlin_literal(text), r"u([0-9a-f]{4})"),
        (swift_literal(text), r"u\{([0-9a-f]+)\}"),
    ):
        inside = literal[1:-1]
        assert literal[0] == literal[-1] == '"'
        assert not re.search(r'(?<!\\)(\\\\)*"', inside)
        assert inside.isprintable()
        units = re.sub(rf'\\(?:{pattern}|(["\\$]))', lambda m: chr(int(m[1], 16)) if m[1] else m[2], inside)
        assert units.encode("utf-16", "surrogatepass").decode("utf-16") == text  # pairs of surrogates joined


def test_brackets_are_balanced(bundle: Path) -> None:
    for source in sources(bundle):
        code = re.sub(r'"(\\.|[^"\\])*"|//[^\n]*|/\*.*?\*/', "", source, flags=re.DOTALL)
        for opening, closing in ("()", "[]", "{}"):
            assert code.count(opening) == code.count(closing)
