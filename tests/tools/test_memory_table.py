"""The tables of docs/memory.md are what the plan says."""

from memory_table import (
    MEASURED,
    MODELS,
    PAGE,
    SCALE,
    configuration,
    needs,
    page,
    scale_tables,
    shape,
    tables,
)


def test_the_tables_are_current() -> None:
    for path, of_page in ((PAGE, tables()), (SCALE, scale_tables())):
        text = path.read_text(encoding="utf-8")
        assert page(text, of_page) == text, "run: python tools/memory_table.py"


def test_shapes_are_those_of_the_models() -> None:
    # Parameters of the published checkpoints.
    published = {
        "Qwen2.5-1.5B": 1_543_714_304,
        "LLaMA-2-7B": 6_738_415_616,
        "LLaMA-3-8B": 8_030_261_248,
        "LLaMA-2-13B": 13_015_864_320,
        "LLaMA-3-70B": 70_553_706_496,
        "Mixtral-8x7B": 46_702_792_704,
    }
    for name in MODELS:
        # Qwen's biases are not in the shape.
        assert abs(shape(name).parameters - published[name]) < 10**5


def test_fewer_blocks_are_those_asked_for() -> None:
    assert configuration("LLaMA-2-7B", 2).num_hidden_layers == 2


def test_each_measured_stage_is_planned() -> None:
    for name, stages in MEASURED.items():
        assert stages.keys() <= needs(shape(name)).keys()
