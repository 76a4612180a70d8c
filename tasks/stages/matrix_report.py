"""What a matrix shows: its table, a page, heat maps as PNG and SVG with their captions, and the recipes."""

import re
from collections.abc import Mapping
from pathlib import Path

import pyarrow.parquet as pq

from optishear.evidence.evidence import Evidence
from optishear.files import write_text
from optishear.json_file import write_json
from optishear.parameters.base import Parameters
from optishear.recipes.recipe import Recipe
from optishear.report.evidence import write_page
from optishear.report.export import png, themed_svg
from optishear.report.heat_map import heat_map
from optishear.report.matrix_table import markdown
from tasks.engine.stage import Stage
from tasks.store.keys import digest

# The captions of the heat maps, for pages that show them elsewhere.
FIGURES = "figures.json"
RECIPES = "recipes"


def _inputs(
    parameters: Parameters, name: str, evidence: Evidence, recipes: Mapping[str, Recipe], command: str
) -> dict[str, str]:
    maps = [
        [heat.name, heat.title, heat.across, heat.question, heat.caption, str(heat.matrix)] for heat in evidence.maps
    ]
    return {
        "name": name,
        "evidence": digest([evidence.table.to_pylist(), maps, markdown(evidence)]),
        "recipes": digest({found_on: recipe.model_dump(mode="json") for found_on, recipe in recipes.items()}),
        "command": command,
    }


def _write(
    outputs: Path, parameters: Parameters, name: str, evidence: Evidence, recipes: Mapping[str, Recipe], command: str
) -> None:
    pq.write_table(evidence.table, outputs / f"{name}.parquet")
    captions = []
    for heat in evidence.maps:
        figure = outputs / (f"{name}.png" if heat.name == name else f"{name}-{heat.name}.png")
        drawing = heat_map(heat.matrix, heat.title, heat.across)
        figure.write_bytes(png(drawing))
        write_text(figure.with_suffix(".svg"), themed_svg(drawing))
        captions.append({"file": f"{figure.stem}.svg", "title": heat.question, "caption": heat.caption})
    write_json(outputs / FIGURES, captions)
    write_page(outputs / f"{name}.html", evidence, command)
    for found_on, recipe in recipes.items():
        file = re.sub(r"[^\w.-]+", "-", found_on)
        recipe.save(outputs / RECIPES / f"{file}.yaml")


# What it shows is all in its inputs.
matrix_report_stage = Stage(name="matrix-report", version=1, parameters=(), inputs=_inputs, write=_write)
