"""What `Loud` of test_export_loader.py does, in a folder of its own."""


class Loud:
    def __init__(self, tensors, settings):
        self.bias, self.layer = tensors["bias"], settings["layer"]

    def ffn(self, layer, inputs, outputs, now):
        return outputs + 0.5 * self.bias if layer.index == self.layer else outputs
