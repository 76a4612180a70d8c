"""The names of what a checkpoint is exported as."""

from typing import Literal

ExportFormat = Literal["dense", "bitmask", "gguf", "fp8-2of4"]
# Types of the weights in a GGUF file, as llama.cpp names them; the numbers are bits of a weight.
GgufType = Literal["bf16", "f32", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0"]
