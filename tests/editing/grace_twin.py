"""GRACE by hand: lists of keys, one edit after the other, and a hook on Hugging Face's own down-projection."""

from contextlib import contextmanager

import torch
from taught import taught_losses


class Twin:
    """One session's edits in a real model: [key, radius, value, answer] each, those alone that count."""

    def __init__(self, backbone, layer, radius=1.0, steps=3, rate=1.0, replaces="last"):
        self.backbone, self.layer, self.radius = backbone, layer, radius
        self.steps, self.rate, self.replaces = steps, rate, replaces
        self.entries = []
        self.module = backbone.decoder.layers[layer].part(backbone.decoder.names.down)

    def nearest(self, state):
        distances = [float((state - key).norm()) for key, *_ in self.entries]
        return min(enumerate(distances), key=lambda pair: pair[1], default=(None, float("inf")))

    def edit(self, request, start, radius=None, only_shrinks=False):
        state = self.state(request.query)
        radius = self.radius if radius is None else radius
        answer = self.backbone.answer_ids(request.target)
        place, distance = self.nearest(state)
        entry = [state, radius, start, answer]
        if place is not None and distance <= radius + self.entries[place][1]:
            other = self.entries[place]
            if other[3] == answer:
                other[1] = max(other[1], distance)
                entry = other
            elif distance < 1e-3:
                entry[1] = self.entries.pop(place)[1]
            else:
                half = distance / 2
                entry[1] = min(half, radius) if only_shrinks else half
                other[1] = min(half - 1e-5, other[1]) if only_shrinks else half - 1e-5
        if not any(each is entry for each in self.entries):
            self.entries.append(entry)
        value = entry[2].clone().requires_grad_(True)
        optimiser = torch.optim.Adam([value], lr=self.rate)
        for _ in range(self.steps):
            optimiser.zero_grad()
            logits = self.logits(request.query, lambda _: value)
            taught_losses(logits, answer, True).mean().backward()
            optimiser.step()
        entry[2] = value.detach()

    def value_for(self, state):
        place, distance = self.nearest(state)
        return self.entries[place][2] if place is not None and distance <= self.entries[place][1] + 1e-4 else None

    @torch.no_grad()
    def state(self, query):
        seen = []
        self.logits(query, seen.append)
        return seen[0]

    def logits(self, query, value_for=None, written=None):
        """Return Hugging Face's logits [token, vocabulary] of one row, with values in place of the module's output."""
        batch = self.backbone.encode([query], None if written is None else [written])
        with self.hooked(int(batch.last_prompt), value_for or self.value_for):
            return self.backbone.model.language_model(inputs_embeds=batch.embeddings).logits[0]

    def written(self, query, count):
        """Return the greedy answer as token ids."""
        tokens = []
        while len(tokens) < count:
            token = int(self.logits(query, written=tokens)[-1].argmax())
            if token in self.backbone.stop_tokens:
                break
            tokens.append(token)
        return tokens

    @contextmanager
    def hooked(self, last, value_for):
        def replace(module, inputs, output):
            rows = inputs[0].view(-1, inputs[0].shape[-1])  # OPT's FFN of some versions has flat rows
            value = value_for(rows[last].detach())
            if value is None:
                return output
            where = {"last": [last], "prompt": range(last), "all": range(len(rows))}[self.replaces]
            mask = torch.tensor([place in where for place in range(len(rows))])[:, None]
            return torch.where(mask, value, output.view(len(rows), -1)).view_as(output)

        handle = self.module.register_forward_hook(replace)
        yield
        handle.remove()
