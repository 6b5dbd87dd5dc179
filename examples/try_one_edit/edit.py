"""One edit in Python: python edit.py BACKBONE RESULTS [CONFIGFILE ...]"""

import sys
from pathlib import Path

import unike_lib as unike

PICTURES = Path(__file__).parents[1] / "own_benchmark" / "pictures"
name, results, *files = sys.argv[1:]

model = unike.load(name, results=results, config=files)
print("methods that can edit it as it is:", ", ".join(model.methods))

edit = model.edit(image=PICTURES / "kettle.png", question="what is this ?", answer="anchor", method="fine-tune")
near = ("what is this ?", PICTURES / "lamp.png")
for answer in edit.answers() + edit.answers("what is this ?", near):
    print(f"{answer.question!r} about {answer.image}: {answer.before!r} -> {answer.after!r}")

second = edit.then(image=PICTURES / "lamp.png", question="what is this ?", answer="bell")
print("after two edits:", [answer.after for answer in second.answers()])

edit.save(f"{results}/edit.safetensors")
kept = model.open_edit(f"{results}/edit.safetensors")
edit.undo()
print("kept in a file:", kept.answers()[0].after, "- taken back:", edit.answers()[0].after)
assert edit.answers()[0].after == edit.answers()[0].before
