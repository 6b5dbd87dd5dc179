"""BLIP-2 with an OPT decoder: visual tokens first, then the prompt; no start or end symbol (MMEdit's convention)."""

from unike_lib.backbones.family import Family, InputForm

BLIP2 = Family(InputForm(), model_types=("blip-2",))
