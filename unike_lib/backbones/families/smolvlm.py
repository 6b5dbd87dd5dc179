"""SmolVLM: Idefics3's layout with another start; 64 visual tokens of a picture for SmolVLM-256M."""

from unike_lib.backbones.families.idefics3 import tiled_once

FAMILY = tiled_once("smolvlm", start="<|im_start|>")
