from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import pytest

from onnxvis import processor
from onnxvis.processor import clips_sums, describe


def test_the_description_says_what_a_report_needs() -> None:
    said = dict(describe())
    assert said["onnxvis"] == version("onnxvis")
    assert said["torch"] == version("torch")
    assert {"onnxruntime", "onnxruntime-gpu"} & said.keys()
    assert said["python"].startswith("3.")
    assert said["processor"]
    assert ("clips sums" in said["int8"]) == clips_sums()


@pytest.mark.parametrize("clips", [True, False])
def test_what_the_processor_means_for_int8_is_said(clips: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processor, "clips_sums", lambda: clips)
    said = dict(describe())["int8"]
    assert ("exactly" in said) if clips else ("exact here" in said)


def test_instruction_sets_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = "model name\t: Some CPU\nflags\t\t: fpu avx2 avx512_vnni\n\nmodel name\t: Other\n"
    (tmp_path / "cpuinfo").write_text(given)
    monkeypatch.setattr(processor, "Path", lambda _: tmp_path / "cpuinfo")
    assert dict(describe())["processor"] == "Some CPU (avx2, avx512_vnni)"


def test_a_system_without_such_a_file_names_what_it_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processor, "Path", lambda _: Path("/nowhere/at/all"))
    assert dict(describe())["processor"]


def test_a_vnni_processor_does_not_clip() -> None:
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        pytest.skip("the system does not say what its processor can do")
    if "avx512_vnni" in flags or "avx_vnni" in flags:
        assert not clips_sums()
    elif "avx2" in flags:
        assert clips_sums()
