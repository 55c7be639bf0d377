"""The settings file: what it may say, to whom, and that its schema says the same."""

import dataclasses
import itertools
import json
import pickle
import re
import tomllib
from glob import glob as globbed
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from onnxvis.config import CHECKS, TOLERANCES, CheckSettings, Config, DiffSettings, overridden
from onnxvis.errors import SettingError
from onnxvis.globs import matches
from onnxvis.preprocess import is_layout

ROOT = Path(__file__).parents[1]
SCHEMA = json.loads(resources.files("onnxvis").joinpath("onnxvis.schema.json").read_text(encoding="utf-8"))
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
SECTIONS = {"check": CheckSettings, "diff": DiffSettings}
OF_THE_RUN = {"files", "jobs", "models"}


def toml(value: Any) -> str:
    """Write a value on one line; a slow and obvious twin of what tomllib reads."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{toml(key)} = {toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def written(folder: Path, document: dict[str, Any], name: str = "onnxvis.toml") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = (f"{toml(key)} = {toml(value)}\n" for key, value in document.items())
    path.write_text("".join(lines), encoding="utf-8")
    return path


def problems_of(path: Path) -> tuple[str, ...]:
    with pytest.raises(SettingError) as caught:
        Config.of(path)
    assert "\n" not in caught.value.message
    assert str(path) in caught.value.message
    return tuple(caught.value.details["problems"])


GOOD: dict[str, dict[str, list[Any]]] = {
    "check": {
        "only": [[], ["load"], list(CHECKS)],
        "skip": [["dead-units", "finite"]],
        "fail-on": ["warn", "fail", "never"],
        "tolerances": [{}, {"float32": 1e-3, "gradients": 0}, dict.fromkeys(TOLERANCES, 0.5)],
        "images": ["photos"],
        "size": [224, [224, 224], [7], [1, 2, 3]],
        "input-shapes": [{}, {"x": [1, 3, 8, 8], "": []}],
        "inputs": [{"mask": 1, "past": "past.npy", "scale": -0.5}],
        "preprocess": ["imagenet", "none"],
        "range": [[0, 255], [-1.5, 1]],
        "mean": [0.5, [103.9, 116.7, 123.6], []],
        "std": [1, [0.2, 0.3, 0.4]],
        "bgr": [True, False],
        "layout": ["NCHW", "NHWC", "FLAT", "C"],
        "opset": [">=13,<=20", "==17", " > 6 , != 9 "],
        "operators": [["Conv", "Relu"]],
        "forbidden-operators": [["Loop"]],
        "domains": [[], ["com.microsoft"]],
        "max-dead": [0, 1, 0.25],
        "max-saturated": [0.9],
        "baseline": ["baseline.json"],
        "timeout": [0.5, 60],
        "seed": [0, 7],
        "files": [["models/*.onnx"]],
        "jobs": [0, 1, 4],
        "models": [{"models/*.onnx": {"preprocess": "caffe", "tolerances": {"float16": 0.1}}, "x": {}}],
    },
    "diff": {
        "tolerance": [0, 0.01],
        "min-cosine": [-1, 0.999],
        "fail-on": ["never"],
        "images": ["photos"],
        "seed": [3],
        "preprocess-a": [{}, {"preset": "tf", "range": [0, 1], "mean": 0, "std": [1], "bgr": True, "layout": "NHWC"}],
        "preprocess-b": [{"layout": "NCHW"}],
        "accept": [["preprocessing", "permutation", "attributes"]],
        "size": [[8, 9]],
        "input-shapes": [{"x": [1]}],
    },
}
BAD: dict[str, dict[str, list[Any]]] = {
    "check": {
        "only": ["load", ["lode"], [1], {"load": True}],
        "skip": [["process"]],
        "fail-on": ["error", True, ["fail"]],
        "tolerances": [0.1, {"float31": 0.1}, {"float32": -1}, {"float32": "small"}, {"float32": True}],
        "images": ["", 1, ["photos"]],
        "size": [0, [], [1, 2, 3, 4], "224", [224.5], True],
        "input-shapes": [{"x": 3}, {"x": [0]}, [1, 3]],
        "inputs": [{"x": [1]}, {"x": ""}, {"x": True}, "x.npy"],
        "preprocess": ["Imagenet", "", False],
        "range": [1, [1], [0, 1, 2], ["0", "1"]],
        "mean": ["0.5", [True]],
        "std": [0, [1, -1]],
        "bgr": ["true", 1],
        "layout": ["nchw", "NN", "NCH", "NCDW", ""],
        "opset": ["", "13", ">=", ">=13;<=20", 13, "~=13"],
        "operators": ["Conv", [1], [""]],
        "forbidden-operators": [{}],
        "domains": ["com.microsoft"],
        "max-dead": [-0.1, 1.1, "half", True],
        "max-saturated": [2],
        "baseline": [{}],
        "timeout": [0, -1, "1"],
        "seed": [-1, 0.5, True, 2**63],
        "files": ["models/*.onnx", [1]],
        "jobs": [-1, 1.5],
        "models": [[], {"m": 1}, {"m": {"fail-on": "warn"}}, {"m": {"jobs": 2}}, {"m": {"seeds": 1}}],
    },
    "diff": {
        "tolerance": [-1e-9, "1e-3"],
        "min-cosine": [1.01, -2],
        "fail-on": ["errors"],
        "images": [3],
        "seed": [-3],
        "preprocess-a": ["tf", {"preset": "torch"}, {"preprocess": "tf"}],
        "preprocess-b": [{"range": 1}, {"std": 0}],
        "accept": [["precision"], "permutation"],
        "size": [-8],
        "input-shapes": [{"x": ["N"]}],
    },
}


def cases(table: dict[str, dict[str, list[Any]]]) -> list[tuple[str, str, Any]]:
    return [(section, key, value) for section, keys in table.items() for key in keys for value in keys[key]]


def names(kind: type[Any]) -> set[str]:
    return {item.name.replace("_", "-") for item in dataclasses.fields(kind)}


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("section", SECTIONS)
def test_the_schema_has_exactly_the_settings(section: str) -> None:
    properties = SCHEMA["properties"][section]["properties"]
    spelled = {key.replace("_", "-") for key in properties}
    assert spelled - OF_THE_RUN == names(SECTIONS[section])
    assert {key.replace("-", "_") for key in spelled} <= set(properties)
    if section == "check":
        assert spelled & OF_THE_RUN == OF_THE_RUN & names(Config)
        of_models = properties["models"]["additionalProperties"]["properties"]
        assert {key.replace("_", "-") for key in of_models} == names(CheckSettings) - {"fail-on"}


@pytest.mark.parametrize("section", SECTIONS)
def test_the_schema_describes_every_setting_and_has_its_default(section: str) -> None:
    defaults = {**Config().__dict__, **SECTIONS[section]().__dict__, "models": {}}
    for key, schema in SCHEMA["properties"][section]["properties"].items():
        if "_" in key:
            continue
        assert schema["description"].endswith(".")
        default = defaults[key.replace("-", "_")]
        assert schema.get("default") == (list(default) if isinstance(default, tuple) else default)


def test_every_setting_is_tried() -> None:
    for table, (section, kind) in itertools.product((GOOD, BAD), SECTIONS.items()):
        assert set(table[section]) - OF_THE_RUN == names(kind)


@pytest.mark.parametrize(("section", "key", "value"), cases(GOOD))
def test_good_settings_are_good_to_the_schema_and_to_the_program(
    section: str, key: str, value: Any, tmp_path: Path
) -> None:
    document = {section: {key: value}}
    VALIDATOR.validate(document)
    Config.of(written(tmp_path, document))


@pytest.mark.parametrize(("section", "key", "value"), cases(BAD))
def test_bad_settings_are_refused_by_the_schema_and_by_the_program(
    section: str, key: str, value: Any, tmp_path: Path
) -> None:
    document = {section: {key: value}}
    assert not VALIDATOR.is_valid(document)
    assert all(key in problem for problem in problems_of(written(tmp_path, document)))


LEAVES = st.one_of(
    st.booleans(),
    st.integers(-2, 300),
    st.floats(-2, 300) | st.sampled_from([1.0, float("nan"), float("inf"), -float("inf"), 2.0**63, 10**400]),
    st.sampled_from(
        ["", "a", "NCHW\n", ">=3\n", ">=\u0663", "tf", "NHWC", "NN", ">=3", "load", "warn", "permutation", "Ünï\x7f\n"]
    ),
)
KEYS = st.sampled_from(["x", "float32", "gradients", "preset", "mean", "std", "layout", "seed", "only", "fail-on"])
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=5
)


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    section = draw(st.sampled_from(sorted(SECTIONS)))
    keys = sorted(SCHEMA["properties"][section]["properties"])
    return {section: draw(st.dictionaries(st.sampled_from([*keys, "unheard-of"]), VALUES, max_size=3))}


@given(documents())
@example({})
@example({"check": 1})
@example({"check": {"fail_on": "warn", "max_dead": 0.25, "jobs": 1.0, "size": [8.0]}, "diff": {"preprocess_a": {}}})
@example({"check": {"fail_on": "warn", "fail-on": "warn"}})
@example({"check": {"layout": "NCHW\n"}})
@example({"check": {"timeout": float("inf")}})
@example({"check": {"max-dead": float("nan")}})
@example({"diff": {"min-cosine": float("nan")}})
@example({"check": {"mean": float("nan")}})
def test_the_schema_and_the_program_refuse_the_same(document: dict[str, Any]) -> None:
    refused = False
    try:
        Config._read(Path("onnxvis.toml"), document)
    except SettingError:
        refused = True
    assert refused != VALIDATOR.is_valid(document)


@pytest.mark.parametrize("letters", ["NCDHW"])
def test_the_schema_knows_the_layouts_that_the_program_knows(letters: str) -> None:
    layout = SCHEMA["properties"]["check"]["properties"]["layout"]
    words = ["".join(word) for count in range(5) for word in itertools.product(letters, repeat=count)]
    words += ["".join(word) for word in itertools.permutations(letters)] + ["FLAT", "NCHWX"]
    validator = jsonschema.Draft202012Validator(layout)
    assert [word for word in words if validator.is_valid(word) != is_layout(word)] == []


def test_the_documented_example_is_good() -> None:
    page = (ROOT / "docs" / "config.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    assert len(blocks) >= 2
    for block in blocks:
        document = tomllib.loads(block)
        table = document.get("tool", {}).get("onnxvis", document)
        VALIDATOR.validate(table)
        Config._read(Path("onnxvis.toml"), table)


def test_every_setting_is_documented() -> None:
    page = (ROOT / "docs" / "config.md").read_text(encoding="utf-8")
    every = [key for section in SECTIONS for key in SCHEMA["properties"][section]["properties"]]
    keys = [key for key in every if key != "models" and "_" not in key]
    assert [key for key in keys if f"| `{key}` |" not in page] == []
    assert [name for name in CHECKS if f"| `{name}` |" not in page] == []
    for kind in SECTIONS.values():
        text = str(kind.__doc__)
        assert [item.name for item in dataclasses.fields(kind) if f"        {item.name}: " not in text] == []


def test_all_problems_of_a_file_are_told_at_once_with_the_nearest_words(tmp_path: Path) -> None:
    document = {
        "check": {"toleranses": {}, "max-dead": 2, "only": ["agrement"], "models": {"m*": {"bgr": "yes"}}},
        "dif": {},
    }
    assert problems_of(written(tmp_path, document)) == (
        "[check] toleranses is unknown: nearest: 'tolerances'",
        "[check] max-dead is 2, and must be a number from 0 to 1",
        "[check] only[0] is 'agrement': nearest: 'agreement'",
        "[check.models.\"m*\"] bgr is 'yes', and must be true or false",
        "dif is unknown: nearest: 'diff'",
    )


def test_keys_may_have_dashes_or_underscores_but_not_both(tmp_path: Path) -> None:
    assert Config.of(written(tmp_path, {"check": {"max_dead": 0.1}})).check.max_dead == 0.1
    assert Config.of(written(tmp_path, {"check": {"max-dead": 0.1}})).check.max_dead == 0.1
    both = problems_of(written(tmp_path, {"check": {"max_dead": 0.1, "max-dead": 0.2}}))
    assert both == ("[check] max-dead is given twice, with a dash and with an underscore",)


@pytest.mark.parametrize("content", [b"[check", b"a = 1\na = 2", b"\xff", b"x = " + b"[" * 5000, None])
def test_a_file_that_cannot_be_read_is_named(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "onnxvis.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SettingError, match=re.escape(str(path))) as caught:
        Config.of(path)
    assert "\n" not in caught.value.message


def test_a_byte_order_mark_and_foreign_line_ends_are_read(tmp_path: Path) -> None:
    path = tmp_path / "onnxvis.toml"
    path.write_bytes(b"\xef\xbb\xbf[check]\r\nseed = 5\r\n")
    assert Config.of(path).check.seed == 5


def test_python_is_told_the_same_as_a_file() -> None:
    with pytest.raises(SettingError, match=r"max_dead is 2.*seed is 'x'"):
        CheckSettings(max_dead=2, seed="x")  # type: ignore[arg-type]
    settings = CheckSettings(mean=np.float32(0.5), size=np.int64(8), baseline=Path("b.json"))  # type: ignore[arg-type]
    assert (settings.mean, settings.size, settings.baseline) == ((0.5,), (8,), "b.json")


def test_settings_travel_between_processes() -> None:
    settings = CheckSettings(tolerances={"float32": 1e-3}, input_shapes={"x": (1, 2)})
    assert pickle.loads(pickle.dumps(settings)) == settings  # noqa: S301 - our own bytes


def test_later_tables_win_and_mappings_are_merged(tmp_path: Path) -> None:
    document = {
        "check": {
            "seed": 1,
            "tolerances": {"float32": 0.1, "float16": 0.2},
            "models": {
                "**/*.onnx": {"seed": 2, "tolerances": {"float16": 0.3}, "only": ["load"]},
                "a/*.onnx": {"seed": 3, "tolerances": {"quantized": 0.4}},
            },
        }
    }
    config = Config.of(written(tmp_path, document))
    assert config.settings_for(Path("elsewhere.onnx")) == config.check
    assert config.settings_for(tmp_path / "b.onnx").seed == 2
    nearest = config.settings_for(tmp_path / "a" / "x.onnx")
    assert (nearest.seed, nearest.only) == (3, ("load",))
    assert nearest.tolerances == {"float32": 0.1, "float16": 0.3, "quantized": 0.4}


def test_paths_are_relative_to_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    document = {
        "check": {
            "images": "photos",
            "inputs": {"mask": 1, "past": "past.npy"},
            "models": {"m.onnx": {"baseline": "../b.json"}},
        },
        "diff": {"images": "/photos"},
    }
    written(tmp_path / "deep", document)
    monkeypatch.chdir(tmp_path)
    config = Config.of(Path("deep/onnxvis.toml"))
    assert config.check.images == str(tmp_path / "deep" / "photos")
    assert config.check.inputs == {"mask": 1.0, "past": str(tmp_path / "deep" / "past.npy")}
    assert config.diff.images == "/photos"
    settings = config.settings_for(Path("deep/m.onnx"))
    assert Path(str(settings.baseline)).resolve() == tmp_path / "b.json"


def test_a_model_behind_a_link_goes_by_the_name_that_it_was_given(tmp_path: Path) -> None:
    config = Config.of(written(tmp_path / "real", {"check": {"models": {"models/*.onnx": {"seed": 9}}}}))
    (tmp_path / "real" / "models").mkdir()
    (tmp_path / "blob").touch()
    (tmp_path / "real" / "models" / "m.onnx").symlink_to(tmp_path / "blob")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert config.settings_for(tmp_path / "real" / "models" / "m.onnx").seed == 9
    assert config.settings_for(tmp_path / "link" / "models" / "m.onnx").seed == 9
    assert config.settings_for(tmp_path / "blob").seed == 0


def test_the_nearest_file_is_found_up_to_the_root_of_the_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = tmp_path / "repository"
    inner = repository / "a" / "b"
    inner.mkdir(parents=True)
    (repository / ".git").mkdir()
    written(tmp_path, {"check": {"seed": 1}})
    monkeypatch.chdir(inner)
    assert Config.of() == Config()
    (repository / "pyproject.toml").write_text("[tool.onnxvis.check]\nseed = 2\n", encoding="utf-8")
    assert Config.of().check.seed == 2
    (repository / "a" / "pyproject.toml").write_text("[tool.other]\nseed = 3\n", encoding="utf-8")
    assert Config.of().check.seed == 2
    written(repository, {"check": {"seed": 4}})
    assert Config.of().check.seed == 4
    written(inner, {})
    assert Config.of() == Config(path=inner / "onnxvis.toml")


@pytest.mark.parametrize("content", [b"[tool.other\n", b"\xff\xfe", b"[project]\ndependencies = ['onnxvis'\n"])
def test_a_broken_pyproject_of_other_programs_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "onnxvis.toml").write_text("[check]\nseed = 7\n", encoding="utf-8")
    path = tmp_path / "below" / "pyproject.toml"
    path.write_bytes(content)
    monkeypatch.chdir(tmp_path / "below")
    assert Config.of().check.seed == 7
    with pytest.raises(SettingError, match="cannot be read"):
        Config.of(path)


@pytest.mark.parametrize("name", ["pyproject.toml", "onnxvis.toml"])
def test_a_broken_file_of_ours_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    (tmp_path / name).write_text("[tool.onnxvis.check\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingError, match="cannot be read"):
        Config.of()


def test_whole_floats_are_whole_numbers() -> None:
    settings = CheckSettings(seed=7.0, size=(8.0, 9))  # type: ignore[arg-type] # as TOML may hold them
    assert (settings.seed, settings.size) == (7, (8, 9))
    assert {type(size) for size in settings.size or ()} == {int}


@pytest.mark.parametrize("content", ["", "[tool.other]\n", "tool = 1\n"])
def test_a_project_without_the_table_is_an_error_where_it_was_asked_for(content: str, tmp_path: Path) -> None:
    path = tmp_path / "pyproject.toml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(SettingError, match=r"no table \[tool.onnxvis\]"):
        Config.of(path)


def test_a_project_whose_table_is_no_table_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "pyproject.toml"
    path.write_text("[tool]\nonnxvis = 1\n", encoding="utf-8")
    assert problems_of(path) == ("[tool.onnxvis] is 1, and must be a table",)


def test_the_models_of_a_file_are_found_once_each_and_a_glob_without_any_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("m/b.onnx", "m/a.onnx", "m/deep/c.onnx", "m/a.txt", "m/folder.onnx/x"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    config = Config.of(written(tmp_path, {"check": {"files": ["m/b.onnx", "m/**/*.onnx"]}}))
    monkeypatch.chdir(tmp_path / "m")
    inside = [Path(name) for name in ("b.onnx", "a.onnx", "deep/c.onnx")]
    assert list(config.model_files()) == inside
    monkeypatch.chdir(tmp_path / "m" / "deep")
    assert list(config.model_files()) == [tmp_path / "m" / "b.onnx", tmp_path / "m" / "a.onnx", Path("c.onnx")]
    with pytest.raises(SettingError, match=r"'n/\*' matches no file"):
        dataclasses.replace(config, files=("n/*",)).model_files()


@pytest.mark.parametrize(
    "pattern",
    [
        *("*.onnx", "**/*.onnx", "a/*.onnx", "./a/*", "a/**/c.onnx", "a/**/*", "**/b/**/*.onnx", "*/*/c.onnx"),
        *("[ab]/c.onnx", "[!a]/c.onnx", "a/?.onnx", "**/**/c.onnx", "a/b/../c.onnx", "*", "a", "A/c.onnx"),
    ],
)
def test_a_glob_matches_the_files_that_it_finds(pattern: str, tmp_path: Path) -> None:
    files = ["c.onnx", "a/c.onnx", "a/cc.onnx", "a/b/c.onnx", "a/b/d/c.onnx", "b/c.onnx", "b/b/x.txt", "b/b/b/e.onnx"]
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = globbed(pattern, root_dir=tmp_path, recursive=True)  # noqa: PTH207 - pathlib knows no ".." in a pattern
    wanted = {name for name in files if any((tmp_path / name) == (tmp_path / path).resolve() for path in found)}
    assert {name for name in files if matches(tmp_path / name, pattern, tmp_path)} == wanted


@pytest.mark.parametrize("number", ["inf", "-inf", "nan", f"1{'0' * 400}"])
def test_numbers_that_no_float_holds_are_refused(number: str, tmp_path: Path) -> None:
    path = tmp_path / "onnxvis.toml"
    path.write_text(f"[check]\ntimeout = {number}\nmean = {number}\n", encoding="utf-8")
    assert len(problems_of(path)) == 2


def test_only_a_glob_that_says_so_reaches_models_outside_the_folder(tmp_path: Path) -> None:
    outside = tmp_path / "m.onnx"
    inside = ["**/*.onnx", "*/m.onnx", "**", "*"]
    assert [glob for glob in inside if matches(outside, glob, tmp_path / "folder")] == []
    for glob in ("../m.onnx", "../*", "../**/*.onnx", "x/../../m.onnx", str(outside), f"{tmp_path}/**/*.onnx"):
        assert matches(outside, glob, tmp_path / "folder")


def test_what_is_not_given_does_not_override() -> None:
    settings = CheckSettings(seed=3, tolerances={"float32": 0.1}, bgr=True)
    assert overridden(settings, seed=None, images=None) == settings
    changed = overridden(settings, seed=0, bgr=False, tolerances={"float16": 0.2})
    assert changed == CheckSettings(seed=0, tolerances={"float32": 0.1, "float16": 0.2}, bgr=False)
    assert overridden(DiffSettings(), preprocess_a={"bgr": True}).preprocess_a == {"bgr": True}
    with pytest.raises(SettingError, match="seed is -1"):
        overridden(settings, seed=-1)
