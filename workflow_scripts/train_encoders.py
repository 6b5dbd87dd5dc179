"""Train the contrastive encoders of every edited layer, and check them on held-out triplets."""

from pathlib import Path

from unike_lib.runtime import Stage

with Stage(snakemake) as config:
    from unike_lib.knowledge.encoder_training import train_encoders

    folder = Path(snakemake.output.encoders).parent
    train_encoders(Path(snakemake.input.states), folder, config.knowledge.encoders, config.seed)
