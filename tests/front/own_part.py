"""Parts of test_export_folders.py in a folder of their own."""


class Loud:
    def __init__(self, tensors, settings):
        self.bias, self.layer = tensors["bias"], settings["layer"]

    def ffn(self, layer, inputs, outputs, now):
        return outputs + 0.5 * self.bias if layer.index == self.layer else outputs


class Mean:
    """What enters the FFN, in the mean over the prompt."""

    def __init__(self, tensors, settings):
        self.layer = settings["layer"]

    def ffn(self, layer, inputs, outputs, now):
        if layer.index != self.layer:
            return outputs
        kept = now.kept_by(self, layer.index)
        if "mean" not in kept:
            where = (now.order <= 0)[..., None]
            kept["mean"] = (inputs * where).sum(1) / where.sum(1)
        return outputs + kept["mean"][:, None]
