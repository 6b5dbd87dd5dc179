"""From wrong answers to memories: triplets, hidden states, contrastive encoders, key-value memory."""
