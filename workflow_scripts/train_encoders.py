"""Train the contrastive encoders of every edited layer, and check them on held-out triplets."""

from unike_lib.runtime import Stage

with Stage(snakemake) as job:
    from unike_lib.config.knowledge import EncoderConfig
    from unike_lib.knowledge.encoder_training import train_encoders

    settings = job.section("encoders", EncoderConfig)
    train_encoders(job.inputs.states, job.outputs.encoders.parent, settings, job.params.seed)
