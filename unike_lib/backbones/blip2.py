"""BLIP-2 with an OPT decoder: visual tokens first, then the prompt; no start or end symbol (MMEdit's convention)."""

from unike_lib.backbones.base import InputForm

BLIP2 = InputForm()
